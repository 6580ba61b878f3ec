"""Writing a zoo, shard after shard."""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

import filelock
import numpy as np
import pandas as pd
import safetensors.numpy
import torch
from torch import Tensor

from nwslib import __version__
from nwslib.flatten import Layout
from nwslib.zoo import storage

_DTYPES = {"float32": torch.float32, "float16": torch.float16}
_HISTORY_COLUMNS = ("run", "epoch", "split", "accuracy", "loss")


class ZooWriter:
    """Adds shards of runs to a zoo; one writer at a time.

    Get one from :meth:`create` or :meth:`resume` and use it as a context manager:
    leaving the block normally marks the zoo complete, leaving it by an exception
    keeps what was added, to be resumed.
    """

    def __init__(self, path: Path, header: dict, lock: filelock.BaseFileLock) -> None:
        self.path = path
        self._header = header
        self._lock = lock
        self._size = Layout.from_json(header["layout"]).size
        self._runs = self._history = None  # until the first shard
        if header["n_runs"]:
            self._runs = storage.read_table(path, header, "runs")
            self._history = storage.read_table(path, header, "history")

    @classmethod
    def create(
        cls,
        path: str | Path,
        layout: Layout,
        *,
        spec: dict,
        snapshots: Sequence[int],
        dtype: str = "float32",
        device: str = "cpu",
    ) -> ZooWriter:
        """Start a zoo in a new or empty folder.

        Parameters
        ----------
        path : path
            The folder; made if need be.
        layout : Layout
            The architecture of the nets.
        spec : dict
            How the nets are trained, in plain JSON values (seeds, data set,
            hyper-parameters...): what must be the same when the zoo is resumed.
        snapshots : sequence of int
            Epochs at which weights are kept, increasing.
        dtype : {"float32", "float16"}
            Type of the stored weights.
        device : str
            Where the nets are trained; recorded, not compared on resuming.

        Raises
        ------
        ValueError
            If the folder holds anything, another writer works on it, or an
            argument is not as described.
        """
        path = Path(path)
        identity = _identity(layout, spec, snapshots, dtype)
        storage.refuse_occupied(path)
        (path / "weights").mkdir(parents=True, exist_ok=True)
        lock = storage.acquire(path)
        try:
            storage.refuse_occupied(path)  # again: another writer may have been here
            header = {
                "format_version": storage.FORMAT_VERSION,
                **identity,
                "provenance": [_provenance(device)],
                "n_runs": 0,
                "complete": False,
                "tables": {},
                "files": {},
            }
            storage.write_header(path, header)
            return cls(path, header, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def resume(
        cls,
        path: str | Path,
        layout: Layout,
        *,
        spec: dict,
        snapshots: Sequence[int],
        dtype: str = "float32",
        device: str = "cpu",
    ) -> ZooWriter:
        """Continue a zoo; :attr:`run_ids` says which runs it has already.

        Parameters are those of :meth:`create`.

        Raises
        ------
        FileNotFoundError
            If there is no zoo at ``path``.
        ValueError
            If layout, spec, snapshots or dtype are not the zoo's, another writer
            works on it, or its header or a table is damaged.
        """
        path = Path(path)
        identity = _identity(layout, spec, snapshots, dtype)
        storage.read_header(path)  # before the lock: leave no lock file where no zoo is
        lock = storage.acquire(path)
        try:
            header = storage.read_header(path)
            if found := _difference(header, identity):
                raise ValueError(
                    f"zoo {path} was started differently: {found}: resume it as it "
                    "was started, or create another."
                )
            header["provenance"].append(_provenance(device))
            writer = cls(path, header, lock)
            writer._sweep()
            return writer
        except BaseException:
            lock.release()
            raise

    @property
    def run_ids(self) -> tuple[int, ...]:
        """Ids of the runs stored so far."""
        return () if self._runs is None else tuple(self._runs["run"].tolist())

    def add(
        self,
        runs: list[dict] | pd.DataFrame,
        weights: Tensor | np.ndarray,
        history: list[dict] | pd.DataFrame,
    ) -> None:
        """Store one shard; when this returns, its runs are safe on disk.

        Parameters
        ----------
        runs : list of dict or DataFrame
            A row a run: ``run`` (id, a whole number not in the zoo yet), ``seed``,
            and the same hyper-parameters and final metrics in every shard.
            ``diverged`` may be given; a run with non-finite weights always gets it.
        weights : Tensor or ndarray, shape [runs, snapshots, layout.size]
            Non-finite values are kept.
        history : list of dict or DataFrame
            Rows of ``run``, ``epoch``, ``split``, ``accuracy``, ``loss``.

        Raises
        ------
        ValueError
            If an argument is not as described, or a finite weight overflows the
            zoo's float16. Nothing is stored then.
        """
        runs = pd.DataFrame(runs).reset_index(drop=True)
        history = pd.DataFrame(history).reset_index(drop=True)
        self._check_tables(runs, history)
        vectors = torch.as_tensor(weights).detach().to("cpu", torch.float32)
        shape = (len(runs), len(self._header["snapshots"]), self._size)
        if vectors.shape != shape:
            raise ValueError(
                f"weights have shape {list(vectors.shape)}, this zoo takes "
                f"{list(shape)} for {len(runs)} runs: [runs, snapshots, weights]."
            )
        finite = vectors.isfinite()
        runs["diverged"] = ~finite.flatten(1).all(1).numpy() | (
            runs["diverged"].to_numpy(dtype=bool) if "diverged" in runs else False
        )
        stored = vectors.to(_DTYPES[self._header["dtype"]])
        if overflow := (finite & ~stored.isfinite()).nonzero().tolist():
            raise ValueError(
                f"run {runs['run'][overflow[0][0]]} has a weight of "
                f"{vectors[tuple(overflow[0])]:.3g}, more than float16 holds: create "
                "the zoo with dtype='float32'."
            )
        ids = runs["run"].tolist()
        shard = safetensors.numpy.save(
            {str(run): net for run, net in zip(ids, stored.numpy(), strict=True)}
        )
        name = f"weights/shard-{len(self._shards):05d}.safetensors"
        entry = storage.write(self.path, name, shard) | {"runs": ids}
        self._commit(
            pd.concat([self._runs, runs], ignore_index=True),
            pd.concat([self._history, history], ignore_index=True),
            shards=self._shards | {name: entry},
            complete=False,
        )

    def close(self, *, complete: bool = True) -> None:
        """Give the zoo free for other writers; mark it complete if it has runs."""
        finish = complete and self._shards and not self._header["complete"]
        try:
            if finish and self._lock.is_locked:  # closing twice is harmless
                self._commit(
                    self._runs, self._history, shards=self._shards, complete=True
                )
        finally:
            self._lock.release()

    def __enter__(self) -> ZooWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(complete=kind is None)

    @property
    def _shards(self) -> dict[str, dict]:
        """The header's entries of the shards, which alone list runs."""
        files = self._header["files"]
        return {name: entry for name, entry in files.items() if "runs" in entry}

    def _check_tables(self, runs: pd.DataFrame, history: pd.DataFrame) -> None:
        """One sentence on the first thing wrong with the rows of a shard."""
        if not self._lock.is_locked:
            raise ValueError(f"this writer is closed: resume zoo {self.path}.")
        for table, given, needed in (
            ("runs", runs, ("run", "seed")),
            ("history", history, _HISTORY_COLUMNS),
        ):
            if missing := [column for column in needed if column not in given]:
                raise ValueError(f"{table} have no column '{missing[0]}': add it.")
        if not pd.api.types.is_integer_dtype(runs["run"]):
            raise ValueError(
                f"run ids must be whole numbers, not {runs['run'].dtype}: number "
                "the runs."
            )
        taken = runs["run"].isin(self.run_ids) | runs["run"].duplicated()
        if taken.any():
            raise ValueError(
                f"run {runs['run'][taken].iloc[0]} is given twice or in zoo "
                f"{self.path} already: add only runs that are not in writer.run_ids."
            )
        if not history["run"].isin(runs["run"]).all():
            raise ValueError(
                "history has rows of runs that are not in this shard: add the "
                "history of each run together with it."
            )
        known = runs if self._runs is None else self._runs
        if odd := (set(runs) ^ set(known)) - {"diverged"}:
            raise ValueError(
                f"column '{min(odd, key=str)}' is not in both these runs and those of "
                f"zoo {self.path}: give every shard the same columns."
            )

    def _commit(
        self,
        runs: pd.DataFrame,
        history: pd.DataFrame,
        *,
        shards: dict[str, dict],
        complete: bool,
    ) -> None:
        """Write the tables under names not in use, then the header."""
        number = "" if complete else f"-{len(shards):05d}"
        files, tables = dict(shards), {}
        for stem, table in (("runs", runs), ("history", history)):
            tables[stem] = name = f"{stem}{number}.parquet"
            buffer = io.BytesIO()
            table.to_parquet(buffer, index=False)
            files[name] = storage.write(self.path, name, buffer.getvalue())
        header = self._header | {
            "n_runs": len(runs),
            "complete": complete,
            "tables": tables,
            "files": files,
        }
        storage.write_header(self.path, header)
        self._header, self._runs, self._history = header, runs, history
        self._sweep()

    def _sweep(self) -> None:
        """Remove tables and temporary files that the header does not name."""
        for pattern in ("runs*.parquet", "history*.parquet", "*.tmp", "weights/*.tmp"):
            for file in self.path.glob(pattern):
                if file.name not in self._header["files"]:
                    file.unlink()


def _identity(layout: Layout, spec: dict, snapshots: Sequence[int], dtype: str) -> dict:
    """Check what must not change over a zoo's life; its part of the header."""
    if dtype not in _DTYPES:
        raise ValueError(f"unknown dtype '{dtype}': choose one of {list(_DTYPES)}.")
    epochs = [int(epoch) for epoch in snapshots]
    if not epochs or epochs != sorted(set(epochs)) or epochs[0] < 0:
        raise ValueError(
            f"snapshots must be increasing epochs from 0 on, got {list(snapshots)}: "
            "sort them and drop repeats."
        )
    try:
        # A round trip, so that a tuple equals the list it is read back as.
        spec = json.loads(json.dumps(spec, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"spec is not plain JSON ({error}): use strings, finite numbers, booleans, "
            "lists and dicts."
        ) from error
    return {
        "layout": layout.to_json(),
        "spec": spec,
        "snapshots": epochs,
        "dtype": dtype,
    }


def _difference(header: dict, identity: dict) -> str | None:
    """First difference between a zoo and what a writer wants to continue."""
    if found := storage.layout_difference(header["layout"], identity["layout"]):
        return found
    stored, given = (
        {"snapshots": one["snapshots"], "dtype": one["dtype"]}
        | {f"spec['{key}']": value for key, value in one["spec"].items()}
        for one in (header, identity)
    )
    for name in stored | given:
        both = name in stored and name in given
        if not both or stored[name] != given[name]:
            old, new = (
                repr(one[name]) if name in one else "absent" for one in (stored, given)
            )
            return f"{name} is {old} in the zoo and {new} as given"
    return None


def _provenance(device: str) -> dict:
    """When, where and with which packages a writer was opened."""
    packages = ("torch", "numpy", "pandas", "pyarrow", "safetensors")
    return {
        "opened": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "device": device,
        "python": platform.python_version(),
        "packages": {"nwslib": __version__}
        | {package: version(package) for package in packages},
    }
