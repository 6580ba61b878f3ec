"""Reading a zoo: its tables at once, its weights when asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors
from numpy.typing import ArrayLike

from nwslib.flatten import Layout
from nwslib.zoo import storage


@dataclass(frozen=True, eq=False)
class Zoo:
    """A zoo opened for reading; weights stay on disk until asked for.

    Attributes
    ----------
    path : Path
        The zoo's folder.
    layout : Layout
        The architecture of its nets.
    spec : dict
        How it was trained, as its writer was told.
    snapshots : tuple of int
        Epochs at which weights were kept, the same for every run.
    runs : DataFrame
        One row a run, in the order they were added.
    history : DataFrame
        One row a run, epoch and split.
    complete : bool
        Whether its writer finished.
    """

    path: Path
    layout: Layout
    spec: dict
    snapshots: tuple[int, ...]
    runs: pd.DataFrame
    history: pd.DataFrame
    complete: bool
    _files: dict[str, dict]

    @classmethod
    def open(
        cls,
        path: str | Path,
        layout: Layout | None = None,
        *,
        allow_partial: bool = False,
    ) -> Zoo:
        """Open a zoo.

        Parameters
        ----------
        path : path
            The zoo's folder.
        layout : Layout, optional
            The architecture the caller expects.
        allow_partial : bool
            Also open a zoo whose writer has not finished, with the runs it has.

        Raises
        ------
        FileNotFoundError
            If there is no zoo at ``path``.
        ValueError
            If it is half-written, of a newer format or of another architecture,
            or if its header or a table is damaged.
        """
        path = Path(path)
        header = storage.read_header(path)
        if layout is not None:
            found = storage.layout_difference(header["layout"], layout.to_json())
            if found:
                raise ValueError(
                    f"zoo {path} holds another architecture ({found}): open it with "
                    "its own layout, or none."
                )
        if not header["n_runs"]:
            raise ValueError(
                f"zoo {path} holds no runs yet: continue it with ZooWriter.resume."
            )
        if not (header["complete"] or allow_partial):
            raise ValueError(
                f"zoo {path} is half-written ({header['n_runs']} runs so far): "
                "continue it with ZooWriter.resume, or read these runs with "
                "allow_partial=True."
            )
        return cls(
            path=path,
            layout=Layout.from_json(header["layout"]),
            spec=header["spec"],
            snapshots=tuple(header["snapshots"]),
            runs=storage.read_table(path, header, "runs"),
            history=storage.read_table(path, header, "history"),
            complete=header["complete"],
            _files=header["files"],
        )

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.runs)

    def select(self, **equals: object) -> list[int]:
        """Ids of the runs whose columns have the given values.

        For any other condition index :attr:`runs`, for example
        ``zoo.runs.loc[zoo.runs.lr < 0.01, "run"]``.

        Raises
        ------
        ValueError
            If a column does not exist.
        """
        mask = np.ones(len(self), dtype=bool)
        for column, value in equals.items():
            if column not in self.runs:
                raise ValueError(
                    f"no column '{column}' in the runs of zoo {self.path}: choose "
                    f"one of {list(self.runs)}."
                )
            mask &= (self.runs[column] == value).to_numpy(dtype=bool)
        return self.runs["run"][mask].tolist()

    def weights(
        self,
        runs: ArrayLike | None = None,
        snapshots: Iterable[int] | None = None,
    ) -> np.ndarray:
        """Read weight vectors; only what is asked for is read.

        Parameters
        ----------
        runs : sequence of int, optional
            Run ids, in any order; all runs, in the order of :attr:`runs`.
        snapshots : iterable of int, optional
            Epochs out of :attr:`snapshots`, in any order; all of them.

        Returns
        -------
        ndarray of float32, shape [runs, snapshots, layout.size]

        Raises
        ------
        ValueError
            If a run or snapshot is not in the zoo, or a shard is missing or
            damaged. Only its size and structure are checked here: :func:`verify`
            reads every byte.
        """
        ids = np.asarray(self.runs["run"] if runs is None else runs)
        if ids.size and ids.dtype.kind not in "iu":
            raise ValueError(
                f"runs must be run ids, not {ids.dtype} values: turn a mask into ids "
                "with zoo.runs.loc[mask, 'run']."
            )
        epochs = self.snapshots if snapshots is None else list(snapshots)
        shard_of = {
            run: name
            for name, entry in self._files.items()
            for run in entry.get("runs", ())  # only shards list runs
        }
        for word, given, known in (
            ("run", ids.tolist(), shard_of),
            ("snapshot", epochs, self.snapshots),
        ):
            if unknown := [item for item in given if item not in known]:
                raise ValueError(
                    f"no {word} {unknown[0]} in zoo {self.path}: choose among its "
                    f"{len(known)} {word}s, zoo.{word}s."
                )
        rows_of: dict[str, list[int]] = {}
        for row, run in enumerate(ids.tolist()):
            rows_of.setdefault(shard_of[run], []).append(row)
        for name in rows_of:
            problem = storage.check(
                self.path, name, self._files[name], every_byte=False
            )
            if problem:
                raise storage.damaged(self.path, problem)
        places = [self.snapshots.index(epoch) for epoch in epochs]
        out = np.empty((len(ids), len(places), self.layout.size), dtype=np.float32)
        for name, rows in rows_of.items():
            try:
                with safetensors.safe_open(self.path / name, "numpy") as shard:
                    for row in rows:
                        tensor = shard.get_slice(str(ids[row]))  # [snapshots, size]
                        for column, place in enumerate(places):
                            out[row, column] = tensor[place]
            except safetensors.SafetensorError as error:
                raise storage.damaged(
                    self.path, f"{name} is altered ({error})"
                ) from error
        return out


def verify(path: str | Path) -> list[str]:
    """Compare every byte of a zoo with its header.

    Returns
    -------
    list of str
        One line for each missing, truncated or altered file; empty if all is well.

    Raises
    ------
    FileNotFoundError
        If there is no zoo at ``path``.
    """
    path = Path(path)
    try:
        header = storage.read_header(path)
    except ValueError as damage:
        return [str(damage)]
    damages = (
        storage.check(path, name, entry, every_byte=True)
        for name, entry in header["files"].items()
    )
    return [damage for damage in damages if damage]
