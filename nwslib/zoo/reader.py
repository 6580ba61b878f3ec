"""Reading a zoo: its tables at once, its weights when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors
from numpy.typing import ArrayLike

from nwslib.flatten import Layout
from nwslib.zoo import identity, shards, storage

#: Names of the types of stored weights in safetensors files.
_STORED = {"float32": "F32", "float16": "F16"}


@dataclass(frozen=True, eq=False)
class Zoo:
    """A zoo opened for reading; weights stay on disk until asked for.

    Attributes
    ----------
    path : Path
        The zoo's folder.
    layouts : dict of str to Layout
        The architectures of its nets by name; the name is ``""`` where the writer
        was given none.
    spec : dict
        How it was trained, as its writer was told.
    snapshots : tuple of int
        Epochs at which weights were kept, the same for every run; or plain numbers,
        where each run's epochs stand in ``runs``.
    runs : DataFrame
        One row a run, in the order they were added, or by id if shards were numbered.
    history : DataFrame
        One row a run, epoch and split.
    complete : bool
        Whether its writer finished.
    """

    path: Path
    layouts: dict[str, Layout]
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
        layout: Layout | Mapping[str, Layout] | None = None,
        *,
        allow_partial: bool = False,
    ) -> Zoo:
        """Open a zoo.

        Parameters
        ----------
        path : path
            The zoo's folder.
        layout : Layout or mapping of str to Layout, optional
            The architectures the caller expects.
        allow_partial : bool
            Also open a zoo whose writer has not finished, with the runs it has.

        Raises
        ------
        FileNotFoundError
            If there is no zoo at ``path``.
        ValueError
            If it is half-written, of a newer format or of another architecture,
            or if its header, layouts or a table are damaged.
        """
        path = Path(path)
        return storage.at_rest(
            path, lambda header: cls._opened(path, header, layout, allow_partial)
        )

    @classmethod
    def _opened(
        cls,
        path: Path,
        header: dict,
        layout: Layout | Mapping[str, Layout] | None,
        allow_partial: bool,
    ) -> Zoo:
        layouts = identity.read_layouts(path, header)
        if layout is not None:
            found = identity.layouts_difference(layouts, identity.named(layout))
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
            layouts=layouts,
            spec=header["spec"],
            snapshots=tuple(header["snapshots"]),
            runs=storage.read_table(path, header, "runs"),
            history=storage.read_table(path, header, "history"),
            complete=header["complete"],
            _files=header["files"],
        )

    @property
    def layout(self) -> Layout:
        """The architecture of all nets, if it is one.

        Raises
        ------
        ValueError
            If the zoo has several.
        """
        if len(self.layouts) > 1:
            raise ValueError(
                f"zoo {self.path} has {len(self.layouts)} layouts: take one from "
                "zoo.layouts, by its name in zoo.runs['layout']."
            )
        (layout,) = self.layouts.values()
        return layout

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.runs)

    def select(self, **equals: object) -> list[int]:
        """Ids of the runs whose columns have the given values.

        For any other condition index ``runs``, for example
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

        To go through a zoo that does not fit into memory, ask for one run at a time.

        Parameters
        ----------
        runs : sequence of int, optional
            Run ids, in any order, of one layout; all runs, in the order of
            ``runs``.
        snapshots : iterable of int, optional
            Epochs out of ``snapshots``, in any order; all of them.

        Returns
        -------
        ndarray of float32, shape [runs, snapshots, size of their layout]

        Raises
        ------
        ValueError
            If a run or snapshot is not in the zoo, the runs have several layouts, or
            a shard is missing or damaged. What is read is held against its checksum
            (zoos of earlier versions have none, there only size and structure are
            looked at); :func:`verify` reads every byte.
        """
        ids = np.asarray(self.runs["run"] if runs is None else runs)
        if ids.size and ids.dtype.kind not in "iu":
            raise ValueError(
                f"runs must be run ids, not {ids.dtype} values: turn a mask into ids "
                "with zoo.runs.loc[mask, 'run']."
            )
        epochs = self.snapshots if snapshots is None else list(snapshots)
        for word, given, known in (
            ("run", ids.tolist(), self._shard_of),
            ("snapshot", epochs, self.snapshots),
        ):
            if unknown := [item for item in given if item not in known]:
                raise ValueError(
                    f"no {word} {unknown[0]} in zoo {self.path}: choose among its "
                    f"{len(known)} {word}s, zoo.{word}s."
                )
        size = self._common_size(ids.tolist())
        rows_of: dict[str, list[int]] = {}
        for row, run in enumerate(ids.tolist()):
            rows_of.setdefault(self._shard_of[run], []).append(row)
        for name in rows_of:
            problem = storage.check(
                self.path, name, self._files[name], every_byte=False
            )
            if problem:
                raise storage.damaged(self.path, problem)
        places = [self.snapshots.index(epoch) for epoch in epochs]
        out = np.empty((len(ids), len(places), size), dtype=np.float32)
        for name, rows in rows_of.items():
            try:
                with safetensors.safe_open(self.path / name, "numpy") as shard:
                    sums = shards.checksums(shard)
                    for row in rows:
                        run = str(ids[row])
                        tensor = shard.get_slice(run)  # [snapshots, size]
                        if tensor.get_shape() != [len(self.snapshots), size]:
                            raise storage.damaged(
                                self.path, f"{name} does not fit run {run}"
                            )
                        for column, place in enumerate(places):
                            out[row, column] = vector = tensor[place]
                            if not shards.intact(sums, run, place, vector):
                                raise storage.damaged(
                                    self.path,
                                    f"{name} is altered (snapshot "
                                    f"{self.snapshots[place]} of run {run} differs)",
                                )
            except safetensors.SafetensorError as error:
                raise storage.damaged(
                    self.path, f"{name} is altered ({error})"
                ) from error
        return out

    @cached_property
    def _shard_of(self) -> dict[int, str]:
        """File of each run's weights."""
        return {
            run: name
            for name, entry in self._files.items()
            for run in entry.get("runs", ())  # only shards list runs
        }

    @cached_property
    def _layout_of(self) -> dict[int, str]:
        """Name of each run's layout."""
        if len(self.layouts) == 1:
            return dict.fromkeys(self.runs["run"].tolist(), next(iter(self.layouts)))
        return dict(zip(self.runs["run"].tolist(), self.runs["layout"], strict=True))

    def _common_size(self, runs: list[int]) -> int:
        """Size of the layout of all these runs; ValueError if they have several."""
        names = dict.fromkeys(self._layout_of[run] for run in runs)
        if len(names) > 1:
            first, second, *_ = names
            raise ValueError(
                f"the runs asked for in zoo {self.path} have {len(names)} layouts, "
                f"'{first}' and '{second}' among them: read one layout at a time, "
                f"zoo.select(layout='{first}')."
            )
        if not names:  # of no run: any will do
            names = self.layouts
        return self.layouts[next(iter(names))].size


def verify(path: str | Path) -> list[str]:
    """Compare every byte of a zoo with its header.

    Returns
    -------
    list of str
        One line for each missing, truncated or altered file; empty if all is well.
        If all files are whole, the shards' tensors are compared with runs and layouts.

    Raises
    ------
    FileNotFoundError
        If there is no zoo at ``path``.
    """
    path = Path(path)
    while True:
        try:
            header = storage.read_header(path)
            damages = _damages(path, header)
            if not damages or storage.read_header(path) == header:
                return damages  # else a writer has gone on meanwhile
        except ValueError as damage:
            return [str(damage)]


def _damages(path: Path, header: dict) -> list[str]:
    """What :func:`verify` says by a header that was read."""
    damages = [
        damage
        for name, entry in header["files"].items()
        if (damage := storage.check(path, name, entry, every_byte=True))
    ]
    if damages or not header["n_runs"]:
        return damages
    zoo = Zoo.open(path, allow_partial=True)
    return [
        misfit
        for name, entry in header["files"].items()
        if "runs" in entry and (misfit := _misfit(zoo, name, header["dtype"]))
    ]


def _misfit(zoo: Zoo, name: str, dtype: str) -> str | None:
    """Say what in a shard is not as header, runs and layouts say, or None."""
    wanted = {
        str(run): [len(zoo.snapshots), zoo.layouts[zoo._layout_of[run]].size]
        for run in zoo._files[name]["runs"]
    }
    with safetensors.safe_open(zoo.path / name, "numpy") as shard:
        tensors = {run: shard.get_slice(run) for run in shard.keys()}
    if odd := wanted.keys() ^ tensors.keys():
        return f"{name} does not fit (run {min(odd)} is not in both it and the header)"
    for run, tensor in tensors.items():
        found = [*tensor.get_shape(), tensor.get_dtype()]
        if found != [*wanted[run], _STORED[dtype]]:
            return (
                f"{name} does not fit (run {run} is {found} instead of "
                f"{[*wanted[run], _STORED[dtype]]})"
            )
    return None
