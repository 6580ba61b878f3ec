"""Every checkpoint of a folder read once: what has to be known of each, in short.

Of a checkpoint only this stays in memory: its architecture, the digests of its
tensors, and its weights, shortened if need be so that distances stay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nwslib import _bars, checkpoints
from nwslib.checkpoints import Rejected, UnreadableCheckpoint
from nwslib.lineage import levels
from nwslib.lineage.sketch import length_for, sketch

#: Bytes for the weights of all checkpoints together; more are shortened.
MEMORY = 2**29
_THREADS = 2
#: Batch norm's running statistics: measured on data, not trained.
_MEASURED = ("running_mean", "running_var")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What is kept of one checkpoint.

    Compared are all its floating-point tensors but batch norm's running statistics.

    Attributes
    ----------
    path : str
        Relative to the folder.
    architecture : str
        Digest of the names and shapes of all floating-point tensors, the same in any
        precision.
    identity : bytes
        Digest of all floating-point tensors' types and values: equal for duplicates.
    names : tuple of str
        Of the compared tensors.
    sizes, bits : tuple of int
        Number of weights of each, and bits of a weight.
    digests : tuple of bytes
        Of each one's type and values.
    energies : ndarray of float64, shape [tensors]
        Sum of squares of each, its mean taken off.
    point : ndarray of float32, shape [k + tensors]
        All weights, each tensor's mean taken off, shortened to k; then each mean
        times the root of the tensor's size. Distances are those of the weights.
    on_levels : bool
        See :func:`nwslib.lineage.levels.on_few_levels`.
    """

    path: str
    architecture: str
    identity: bytes
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    bits: tuple[int, ...]
    digests: tuple[bytes, ...]
    energies: NDArray[np.float64]
    point: NDArray[np.float32]
    on_levels: bool


def survey(
    folder: str | Path,
    paths: list[str],
    *,
    memory: int = MEMORY,
    progress: bool = False,
) -> tuple[list[Checkpoint], list[Rejected]]:
    """Read checkpoints, each once.

    Parameters
    ----------
    folder : path
    paths : list of str
        As from :func:`nwslib.checkpoints.find`.
    memory : int
        Bytes for the weights of all checkpoints together.
    progress : bool
        Show a bar.

    Returns
    -------
    seen : list of Checkpoint
        In an order that depends on their content alone; exact duplicates by path.
    rejected : list of Rejected
    """

    def look(path: str) -> Checkpoint | Rejected:
        try:
            state = checkpoints.read(folder, path)
        except UnreadableCheckpoint as error:
            return Rejected(path, error.reason)
        found = summary(path, state, len(paths), memory)
        if np.isfinite(found.point).all():
            return found
        return Rejected(
            path,
            "its weights exceed the range of float32: use an earlier checkpoint of "
            "that run.",
        )

    found = []
    bar = _bars.bar(len(paths), "checkpoint", progress, title="reading")
    with ThreadPoolExecutor(_THREADS) as pool, bar:
        for each in pool.map(look, paths):
            found.append(each)
            bar.update()
    seen = [each for each in found if isinstance(each, Checkpoint)]
    seen.sort(key=lambda each: (each.architecture, each.identity, each.path))
    return seen, [each for each in found if isinstance(each, Rejected)]


def summary(
    path: str, state: Mapping[str, Tensor], count: int, memory: int = MEMORY
) -> Checkpoint:
    """Reduce one checkpoint to what is kept of it.

    Parameters
    ----------
    path : str
    state : mapping of str to Tensor
        As from :func:`nwslib.checkpoints.read`.
    count : int
        How many checkpoints share the memory.
    memory : int
        Bytes.
    """
    floating = {name: t for name, t in state.items() if t.is_floating_point()}
    shapes = [(name, list(t.shape)) for name, t in floating.items()]
    digests = {name: _digest(t) for name, t in floating.items()}
    weights = compared(state)
    centred, means = zip(*map(take_off_mean, weights.values()), strict=True)
    length = length_for(sum(map(len, centred)), count, memory)
    return Checkpoint(
        path=path,
        architecture=hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:12],
        identity=hashlib.sha256(b"".join(digests.values())).digest(),
        names=tuple(weights),
        sizes=tuple(map(len, centred)),
        bits=tuple(8 * t.element_size() for t in weights.values()),
        digests=tuple(digests[name] for name in weights),
        energies=np.array([_sum_of_squares(t) for t in centred]),
        point=np.append(sketch(torch.cat(centred), length), np.float32(means)),
        on_levels=levels.on_few_levels(weights.values()),
    )


def compared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors whose weights are compared: all trained ones, or all if none is."""
    floating = {name: t for name, t in state.items() if t.is_floating_point()}
    trained = {n: t for n, t in floating.items() if not n.endswith(_MEASURED)}
    return trained or floating


def take_off_mean(tensor: Tensor) -> tuple[Tensor, float]:
    """Split a tensor into two parts at right angles.

    Returns
    -------
    centred : Tensor of float32, shape [size]
        Less its mean.
    length : float
        Of the rest, with the mean's sign: mean times the root of the size.
    """
    flat = tensor.reshape(-1).float()
    if not len(flat):
        return flat, 0.0
    mean = flat.mean(dtype=torch.float64).item()
    return flat - mean, mean * len(flat) ** 0.5


def _sum_of_squares(flat: Tensor) -> float:
    return torch.linalg.vector_norm(flat, dtype=torch.float64).item() ** 2


def _digest(tensor: Tensor) -> bytes:
    """Digest of type and values; the shape belongs to the architecture."""
    found = hashlib.sha256(str(tensor.dtype).encode())
    found.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return found.digest()[:16]
