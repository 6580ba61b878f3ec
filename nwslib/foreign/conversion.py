"""A foreign zoo into one of ours, one run after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from nwslib import _bars
from nwslib.checkpoints import Rejected
from nwslib.foreign.opened import ForeignZoo, UnreadableRun
from nwslib.zoo import ZooWriter

#: Bytes of weights that are collected before a shard is written. Every shard writes
#: the tables anew, so many small ones would be slow.
SHARD_BYTES = 2**27


def convert(
    foreign: ForeignZoo,
    path: str | Path,
    *,
    last: int | None = None,
    dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
    progress: bool = False,
) -> list[Rejected]:
    """Write a foreign zoo's runs into a zoo, or those that are missing from it.

    Runs are read one at a time and written in shards. Called again after it was
    stopped, it goes on; called again after files were repaired, it adds their runs.

    Parameters
    ----------
    foreign : ForeignZoo
    path : path
        The zoo's folder, new or of the same foreign zoo. Its snapshots are numbered
        0, 1, ...; ``kept_epochs`` in its ``runs`` says after which epochs they were
        taken.
    last : int, optional
        Take only so many of a run's last snapshots, and no run that has fewer. By
        default all of them, and all runs must have equally many.
    dtype : {"float32", "float16"}
        Type of the stored weights.
    shard_bytes : int
        Bytes of weights, in float32, that are held in memory and written together.
    progress : bool
        Show a bar.

    Returns
    -------
    list of Rejected
        Runs that were left out, ``foreign.rejected`` included.

    Raises
    ------
    ValueError
        If runs have different numbers of snapshots, none can be read, the folder
        holds something else, or a weight is more than float16 holds.
    """
    rejected = list(foreign.rejected)
    runs = foreign.runs.assign(
        kept_epochs=[each.split() for each in foreign.runs["kept_epochs"]]
    )
    counts = runs["kept_epochs"].map(len)
    if last is None:
        if counts.nunique() > 1:
            raise ValueError(
                f"the runs in {foreign.folder} have {counts.min()} to {counts.max()} "
                "snapshots: choose how many of the last ones to take (last)."
            )
        last = int(counts.iloc[0])
    elif not 1 <= last <= counts.max():
        raise ValueError(
            f"last is {last}, but no run in {foreign.folder} has so many snapshots: "
            f"choose 1 to {counts.max()}."
        )
    for run in runs[counts < last].itertuples():
        rejected.append(
            Rejected(
                run.path,
                f"it has {len(run.kept_epochs)} snapshots, fewer than the {last} to "
                "take: take fewer.",
            )
        )
    runs = runs[counts >= last]
    runs = runs.assign(kept_epochs=[" ".join(e[-last:]) for e in runs["kept_epochs"]])
    names = "\n".join(foreign.names).encode(errors="surrogateescape")
    settings = {
        "layouts": foreign.layouts,
        "spec": {
            "imported": foreign.kind,
            "last": last,
            "names": hashlib.sha256(names).hexdigest(),
        },
        "snapshots": range(last),
        "dtype": dtype,
    }
    path = Path(path)
    exists = (path / "zoo.json").exists()
    with (ZooWriter.resume if exists else ZooWriter.create)(path, **settings) as writer:
        missing = runs[~runs["run"].isin(writer.run_ids)]
        with _bars.bar(len(missing), "run", progress) as bar:
            for shard in _shards(foreign, missing, last, shard_bytes, rejected):
                writer.add(*shard)
                bar.update(len(shard[0]))
        if not writer.run_ids:
            raise ValueError(
                f"none of the {len(rejected)} runs in {foreign.folder} can be read; "
                f"the first, {rejected[0].path!r}: {rejected[0].reason}"
            )
    return rejected


def _shards(
    foreign: ForeignZoo,
    runs: pd.DataFrame,
    last: int,
    most_bytes: int,
    rejected: list[Rejected],
) -> Iterator[tuple[pd.DataFrame, list[Tensor], pd.DataFrame]]:
    """What :meth:`ZooWriter.add` takes, shard after shard."""
    numbers, weights, histories, size = [], [], [], 0
    for number in runs["run"].tolist():
        try:
            # What is too large for float32 becomes infinite.
            vectors = torch.from_numpy(foreign.weights(number, last)).float()
            history = foreign.history(number)
        except UnreadableRun as error:
            rejected.append(Rejected(error.path, error.reason))
            continue
        if weights and size + vectors.nbytes > most_bytes:
            yield runs[runs["run"].isin(numbers)], weights, pd.concat(histories)
            numbers, weights, histories, size = [], [], [], 0
        numbers.append(number)
        weights.append(vectors)
        histories.append(history)
        size += vectors.nbytes
    if weights:
        yield runs[runs["run"].isin(numbers)], weights, pd.concat(histories)
