"""One shard: its rows and weights checked, its file.

The file is safetensors, one tensor a run, named by the run's id. Its metadata has a
checksum (CRC-32) of each snapshot of each run, so that a reader of few can tell
whether it was given what was stored. Files of older versions have none.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.numpy
import torch
from torch import Tensor

from nwslib.flatten import Layout
from nwslib.zoo.identity import UNNAMED

_CHECKSUMS = "crc32"  # in the metadata, as JSON: by run, a number a snapshot
_HISTORY_COLUMNS = ("run", "epoch", "split", "accuracy", "loss")


def file_name(number: int) -> str:
    """Place of a shard in the zoo's folder."""
    return f"weights/shard-{number:05d}.safetensors"


def number(name: str) -> int:
    """Number of a shard, from its :func:`file_name`."""
    return int(name.removeprefix("weights/shard-").removesuffix(".safetensors"))


def check_tables(
    path: Path,
    runs: pd.DataFrame,
    history: pd.DataFrame,
    stored: pd.DataFrame | None,
    layouts: dict[str, Layout],
) -> None:
    """Raise ValueError for the first thing wrong with the rows of a shard.

    Parameters
    ----------
    path : Path
        The zoo's folder.
    runs, history : DataFrame
        As :meth:`.ZooWriter.add` describes them.
    stored : DataFrame or None
        The runs in the zoo.
    layouts : dict of str to Layout
        The zoo's.
    """
    named = UNNAMED not in layouts
    for table, given, needed in (
        ("runs", runs, ("run", "seed", *["layout"] * named)),
        ("history", history, _HISTORY_COLUMNS),
    ):
        if missing := [column for column in needed if column not in given]:
            raise ValueError(f"{table} have no column '{missing[0]}': add it.")
    if not pd.api.types.is_integer_dtype(runs["run"]):
        raise ValueError(
            f"run ids must be whole numbers, not {runs['run'].dtype}: number the runs."
        )
    taken = runs["run"].duplicated()
    if stored is not None:
        taken |= runs["run"].isin(stored["run"])
    if taken.any():
        raise ValueError(
            f"run {runs['run'][taken].iloc[0]} is given twice or in zoo {path} "
            "already: add only runs that are not in writer.run_ids."
        )
    if not history["run"].isin(runs["run"]).all():
        raise ValueError(
            "history has rows of runs that are not in this shard: add the history of "
            "each run together with it."
        )
    if odd := (set(runs) ^ set(runs if stored is None else stored)) - {"diverged"}:
        raise ValueError(
            f"column '{min(odd, key=str)}' is not in both these runs and those of zoo "
            f"{path}: give every shard the same columns."
        )
    if named and not (known := runs["layout"].isin(list(layouts))).all():
        first = runs[~known].iloc[0]
        raise ValueError(
            f"run {first['run']} has the layout {first['layout']!r}, which is none of "
            f"the {len(layouts)} of zoo {path}: choose one that it was created with."
        )


def check_alike(stem: str, given: pd.DataFrame, stored: pd.DataFrame) -> None:
    """Raise ValueError unless rows join a table the same way whenever they arrive.

    What becomes of columns in another order, or of text, truth values and numbers in
    one column, would depend on which came first. Whole and other numbers do not.
    """
    columns = [
        [
            (column, "number" if _is_number(dtype) else str(dtype))
            for column, dtype in table.dtypes.items()
        ]
        for table in (stored, given)
    ]
    for old, new in zip_longest(*columns):
        if old != new:
            old, new = ("{} ({})".format(*one) if one else "none" for one in (old, new))
            raise ValueError(
                f"{stem} of a numbered shard have the column {new} where those in the "
                f"zoo have {old}: give every shard the same columns, in one order, "
                "with values of one type (NaN for a missing number)."
            )


def vectors(
    runs: pd.DataFrame,
    weights: Tensor | np.ndarray | Sequence[Tensor | np.ndarray],
    snapshots: int,
    layouts: dict[str, Layout],
) -> list[Tensor]:
    """One tensor a run, [snapshots, size of its layout]; ValueError for another shape.

    ``runs`` has passed :func:`check_tables`.
    """
    if UNNAMED in layouts:
        stack = torch.as_tensor(weights)
        shape = [len(runs), snapshots, layouts[UNNAMED].size]
        if list(stack.shape) != shape:
            raise ValueError(
                f"weights have shape {list(stack.shape)}, this zoo takes {shape} for "
                f"{len(runs)} runs: [runs, snapshots, weights]."
            )
        return list(stack)
    if len(weights) != len(runs):
        raise ValueError(
            f"weights of {len(weights)} runs are given for {len(runs)} rows: give one "
            "tensor a run."
        )
    nets = [torch.as_tensor(net) for net in weights]
    for run, layout, net in zip(runs["run"], runs["layout"], nets, strict=True):
        shape = [snapshots, layouts[layout].size]
        if list(net.shape) != shape:
            raise ValueError(
                f"weights of run {run} have shape {list(net.shape)}, its layout "
                f"'{layout}' takes {shape}: [snapshots, weights]."
            )
    return nets


def _is_number(dtype: object) -> bool:
    is_type = pd.api.types
    return is_type.is_numeric_dtype(dtype) and not is_type.is_bool_dtype(dtype)


def pack(
    ids: Sequence[int], weights: Sequence[Tensor], dtype: str
) -> tuple[bytes, np.ndarray]:
    """Put weights into a file's bytes, and find the runs that diverged.

    Parameters
    ----------
    ids : sequence of int
    weights : sequence of Tensor, shape [snapshots, size of the run's layout] each
    dtype : str
        Type to store them in.

    Returns
    -------
    data : bytes
    diverged : ndarray of bool, shape [runs]
        Whether any weight is not finite.

    Raises
    ------
    ValueError
        If a finite weight overflows ``dtype``.
    """
    stored, diverged = {}, np.zeros(len(ids), dtype=bool)
    for place, (run, net) in enumerate(zip(ids, weights, strict=True)):
        net = net.detach().to("cpu", torch.float32)
        finite = net.isfinite()  # [snapshots, size]
        kept = net.to(getattr(torch, dtype))
        if (overflow := finite & ~kept.isfinite()).any():
            raise ValueError(
                f"run {run} has a weight of {net[overflow][0]:.3g}, more than {dtype} "
                "holds: create the zoo with dtype='float32'."
            )
        diverged[place] = not finite.all()
        # safetensors would store other strides scrambled
        stored[str(run)] = kept.contiguous().numpy()
    sums = {run: [zlib.crc32(row) for row in net] for run, net in stored.items()}
    data = safetensors.numpy.save(stored, {_CHECKSUMS: json.dumps(sums)})
    return data, diverged


def checksums(shard: safetensors.safe_open) -> dict[str, list[int]]:
    """Checksums of each run's snapshots in an open shard; empty if it is an old one.

    Raises
    ------
    SafetensorError
        If they cannot be read.
    """
    text = (shard.metadata() or {}).get(_CHECKSUMS, "{}")
    try:
        return {run: list(sums) for run, sums in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise safetensors.SafetensorError("its checksums are none") from error


def intact(sums: dict[str, list[int]], run: str, place: int, row: np.ndarray) -> bool:
    """Whether a snapshot is as it was stored, for all that :func:`checksums` says."""
    return not sums or sums.get(run, [])[place : place + 1] == [zlib.crc32(row)]
