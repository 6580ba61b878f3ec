"""From a folder of checkpoints to the lineage of each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nwslib import checkpoints
from nwslib.checkpoints import Rejected
from nwslib.lineage.copies import Copy, Reader, find_copies
from nwslib.lineage.families import families
from nwslib.lineage.result import Architecture, Lineage, Link, Run
from nwslib.lineage.sketch import sketch
from nwslib.lineage.space import distances
from nwslib.lineage.survey import (
    MEMORY,
    Checkpoint,
    compared,
    survey,
    take_off_mean,
)
from nwslib.lineage.tree import grow


def recover(
    folder: str | Path, *, memory: int = MEMORY, progress: bool = False
) -> Lineage:
    """Recover runs, order, branches and copies from the weights in a folder.

    Names and dates of files, and integers such as batch norm's counters, are never
    looked at: renaming files changes nothing but the names.

    Parameters
    ----------
    folder : path
        With checkpoints at any depth and of any architectures; see
        :func:`nwslib.checkpoints.find`.
    memory : int
        Bytes for the weights of all checkpoints together. What takes more is
        shortened (:mod:`nwslib.lineage.sketch`): the standard error of a distance is
        1 % at 20 kB a checkpoint, half of that at 80 kB. The process holds a few
        times as much, and the distances within the largest family.
    progress : bool
        Show a bar while files are read.

    Returns
    -------
    Lineage

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    ValueError
        If it holds no checkpoint that can be read.
    """
    paths, rejected = checkpoints.find(folder)
    seen, unread = survey(folder, paths, memory=memory, progress=progress)
    rejected = sorted([*rejected, *unread], key=lambda each: each.path)
    if not seen:
        raise ValueError(_nothing(folder, rejected))
    groups: dict[str, list[Checkpoint]] = {}
    for checkpoint in seen:
        groups.setdefault(checkpoint.architecture, []).append(checkpoint)
    read = partial(checkpoints.read, folder)
    architectures: list[Architecture] = []
    runs: list[Run] = []
    links: list[Link] = []
    # Content decides on the order of all that follows, names on none of it.
    for name, members in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0])):
        sizes = members[0].sizes
        architectures.append(Architecture(name, len(sizes), sum(sizes)))
        found, descent = _sort_out(members, read)
        for order, outlier in found:
            in_order = tuple(members[k].path for k in order)
            runs.append(Run(f"run-{len(runs) + 1}", name, in_order, outlier))
            links += [
                Link(members[parent].path, members[k].path, distance, sure, kind)
                for k in order
                if k in descent
                for parent, distance, sure, kind in [descent[k]]
            ]
    return Lineage(tuple(architectures), tuple(runs), tuple(links), tuple(rejected))


#: Of a checkpoint: index of the one it came from, distance, confidence, kind of link.
_Descent = tuple[int, float, float, str]


def _sort_out(
    members: list[Checkpoint], read: Reader
) -> tuple[list[tuple[list[int], bool]], dict[int, _Descent]]:
    """Runs of one architecture, whether each is an outlier, and all descents."""
    points = np.stack([c.point for c in members])
    copies = find_copies(members, points, read)
    descent = {k: (c.original, c.distance, 1.0, c.kind) for k, c in copies.items()}
    originals = np.array([k for k in range(len(members)) if k not in copies])
    family = _families([members[k] for k in originals], points[originals], read)
    kin_of = [originals[family == label] for label in range(family.max() + 1)]
    kin_of.sort(key=len, reverse=True)
    found = []
    for kin in kin_of:
        D = distances(points[kin])
        for strand in grow(D):
            before = [strand.parent, *strand.order[:-1]]
            for k, (node, parent) in enumerate(zip(strand.order, before, strict=True)):
                if parent >= 0:
                    descent[int(kin[node])] = (
                        int(kin[parent]), float(D[parent, node]),
                        float(strand.confidence[k]), "step" if k else "branch",
                    )  # fmt: skip
            alone = len(kin) == 1 < len(kin_of[0])
            found.append((_with_copies(kin[strand.order], copies), alone))
    return found, descent


def _with_copies(order: NDArray, copies: dict[int, Copy]) -> list[int]:
    """Checkpoints of a run with the copies of each behind it."""
    copies_of: dict[int, list[int]] = {}
    for k, copy in copies.items():
        copies_of.setdefault(copy.original, []).append(k)
    out, stack = [], [int(k) for k in order[::-1]]
    while stack:
        out.append(stack.pop())
        stack += sorted(copies_of.get(out[-1], ()), reverse=True)
    return out


def _nothing(folder: str | Path, rejected: list[Rejected]) -> str:
    """Why there is no lineage, and what to do about it."""
    if not rejected:
        return (
            f"no checkpoints in {folder}: pass a folder that holds .pt, .pth, .bin, "
            ".ckpt or .safetensors files, at any depth."
        )
    first = rejected[0]
    return (
        f"none of the {len(rejected)} checkpoints in {folder} could be read; the "
        f"first, {first.path!r}: {first.reason}"
    )


def _families(
    members: list[Checkpoint], points: NDArray, read: Reader
) -> NDArray[np.int64]:
    """Family of each of some checkpoints of one architecture, no two of them equal."""
    energies = np.stack([c.energies for c in members])  # [n, tensors]
    first = members[0]
    frozen = np.array(
        [len({c.digests[t] for c in members}) == 1 for t in range(len(first.sizes))]
    )
    k = points.shape[1] - len(first.sizes)
    points = points[:, :k]
    if len(members) > 1 and frozen.any() and not frozen.all():
        # What all have in common, such as a table of positions, relates none.
        weights = compared(read(first.path)).values()
        parts = [take_off_mean(tensor)[0] for tensor in weights]
        shared = [
            part if same else 0 * part for part, same in zip(parts, frozen, strict=True)
        ]
        points = points - sketch(torch.cat(shared), k).numpy()
        energies = energies * ~frozen
    shares = energies / np.maximum(energies.sum(axis=1, keepdims=True), 1e-300)
    return families(points, shares, first.sizes)
