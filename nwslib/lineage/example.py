"""A folder such as people have, made of runs whose descent is known."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from nwslib.flatten import Layout

_FOLDERS = (".", "old", "old/tuesday", "sent by anna", "größer")
_SHARDS = 2


@dataclass(frozen=True)
class Planted:
    """A checkpoint of the example, and the truth about it.

    Attributes
    ----------
    path : str
        Relative to the folder; of a sharded checkpoint its index.
    run : str
        Name of its run.
    place : int
        In the run, from 0.
    parent : str or None
        Path of the checkpoint that it came from.
    kind : str
        As in :meth:`nwslib.lineage.Lineage.table`.
    """

    path: str
    run: str
    place: int
    parent: str | None
    kind: str


class _Prints:
    """What a pickle can do to whoever loads it; this one only prints."""

    def __reduce__(self) -> tuple:
        return print, ("this file has just run code of its own",)


def write_example(
    folder: str | Path,
    runs: Mapping[str, tuple[Layout, NDArray]],
    branches: Mapping[str, tuple[str, int]],
    seed: int = 0,
) -> list[Planted]:
    """Write runs into one folder, without a name or a place that tells anything.

    Formats alternate: a ``state_dict``, a dict that holds one, safetensors, sharded
    safetensors. Of the first run, one checkpoint is there twice, one in half
    precision and one quantised to 8 bits. Besides, there are a pickle that would run
    code and a file that was cut short.

    Parameters
    ----------
    folder : path
        Made if need be.
    runs : mapping of str to (Layout, ndarray of float32, shape [n, weights])
        Checkpoints of each run, first to last; a run of one is an outlier.
    branches : mapping of str to (str, int)
        Run -> the run that it leaves, which stands before it, and the place there.
    seed : int
        Of names and folders.

    Returns
    -------
    list of Planted
    """
    folder, rng = Path(folder), random.Random(seed)
    truth: list[Planted] = []
    path_of: dict[tuple[str, int], str] = {}

    def plant(
        state: dict[str, Tensor], run: str, place: int, parent: str | None, kind: str
    ) -> str:
        name = f"{rng.choice(_FOLDERS)}/{rng.randbytes(4).hex()}".removeprefix("./")
        form = _FORMS[len(truth) % len(_FORMS)]
        path = form(folder, name, state)
        truth.append(Planted(path, run, place, parent, kind))
        return path

    for run, (layout, weights) in runs.items():
        parent = path_of[branches[run]] if run in branches else None
        kind = "branch" if parent else "root" if len(weights) > 1 else "outlier"
        for place, vector in enumerate(weights):
            state = layout.unflatten(torch.tensor(vector))
            path_of[run, place] = parent = plant(state, run, place, parent, kind)
            kind = "step"
    first = next(iter(runs))
    layout, weights = runs[first]
    for place, (kind, change) in enumerate(_COPIES.items(), start=len(weights) // 2):
        state = layout.unflatten(torch.tensor(weights[place]))
        changed = {name: change(tensor) for name, tensor in state.items()}
        plant(changed, first, place, path_of[first, place], kind)

    torch.save({"state_dict": state, "extra": _Prints()}, folder / "best.pt")
    whole = (folder / truth[0].path).read_bytes()
    (folder / "final.pt").write_bytes(whole[: len(whole) // 2])
    return truth


def _plain(folder: Path, name: str, state: dict[str, Tensor]) -> str:
    return _saved(folder, f"{name}.pt", state)


def _held(folder: Path, name: str, state: dict[str, Tensor]) -> str:
    wrapped = {f"module.{key}": tensor for key, tensor in state.items()}
    moments = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    held = {"epoch": 0, "model": wrapped, "optimizer": {"exp_avg": moments}}
    return _saved(folder, f"{name}.pth", held)


def _saved(folder: Path, path: str, content: dict) -> str:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / path)
    return path


def _safe(folder: Path, name: str, state: dict[str, Tensor]) -> str:
    path = f"{name}.safetensors"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    save_file({key: t.contiguous() for key, t in state.items()}, folder / path)
    return path


def _sharded(folder: Path, name: str, state: dict[str, Tensor]) -> str:
    """In a folder of its own, as Hugging Face lays it out."""
    weight_map = {}
    shards = min(_SHARDS, len(state))
    for shard in range(shards):
        keys = list(state)[shard::shards]
        file = f"model-{shard + 1:05}-of-{shards:05}"
        _safe(folder, f"{name}/{file}", {key: state[key] for key in keys})
        weight_map |= dict.fromkeys(keys, f"{file}.safetensors")
    index = {"metadata": {}, "weight_map": weight_map}
    path = f"{name}/model.safetensors.index.json"
    (folder / path).write_text(json.dumps(index), "utf-8")
    return path


def _in_8_bits(tensor: Tensor) -> Tensor:
    """Rounded to 255 levels about zero, as quantisation and its undoing leave it."""
    unit = tensor.abs().max() / 127
    return (tensor / unit).round() * unit


_FORMS = (_plain, _held, _safe, _sharded)
_COPIES = {
    "duplicate": torch.clone,
    "half-precision copy": Tensor.half,
    "quantised copy": _in_8_bits,
}
