"""Weights of many nets as one vector, and slices of it: what DMCs are fed with.

Nets of different lengths stand side by side, one snapshot after the other, and a
table says where each begins and ends. A batch of slices is one gather, wherever the
vector is: in memory, on a device, or in a file that is mapped into memory.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nwslib._device import check_device
from nwslib.features.groups import PARTS, bounds
from nwslib.features.tables import layouts_of
from nwslib.flatten import Layout
from nwslib.zoo import Zoo

# Where a row begins, where its convolutions end, where it ends itself.
_PLACES = ("start", "conv_stop", "stop")


@dataclass(frozen=True, eq=False)
class _Room:
    """Where slices of a size fit into a part, by row.

    Attributes
    ----------
    first : Tensor of int64, shape [rows]
        The first weight.
    places : Tensor of float64, shape [rows]
        From how many places on, one after the other, a slice fits; whole numbers.
    fits : bool
        Whether a slice fits into each row.
    """

    first: Tensor
    places: Tensor
    fits: bool


@dataclass(frozen=True, eq=False)
class WeightStore:
    """Snapshots of a zoo as one vector. Make one with :meth:`of_zoo`.

    Attributes
    ----------
    flat : Tensor of float32, shape [all weights]
        In memory, on a device, or mapped from a file.
    index : DataFrame
        Of each row, a snapshot, ``run`` and ``snapshot``, and where it is in ``flat``:
        from ``start`` to ``stop``, its convolutions up to ``conv_stop``.
    device : str
        Where slices are given.
    file : Path or None
        Which file is mapped. A store of one goes to another process by the file's
        name, without its weights.
    """

    flat: Tensor
    index: pd.DataFrame
    device: str = "cpu"
    file: Path | None = None

    @classmethod
    def of_zoo(
        cls,
        zoo: Zoo,
        runs: Sequence[int] | None = None,
        snapshots: Iterable[int] | None = None,
        *,
        kinds: Collection[str] | None = None,
        device: str = "cpu",
        file: str | Path | None = None,
    ) -> WeightStore:
        """Read snapshots, one run in memory at a time beside the result.

        Parameters
        ----------
        zoo : Zoo
            Of one layout or several.
        runs, snapshots : sequence of int, optional
            Ids, each taken once, and epochs; all by default.
        kinds : collection of str, optional
            Kinds of weights that are kept: ``("weight",)`` gives the stripped vectors
            of Fig. 19; all by default.
        device : str
            Where the weights are kept, or with a file, where slices are sent to.
        file : path, optional
            Keep the weights in this file, mapped into memory, for a zoo that does not
            fit. It is replaced; whoever needs the store no longer deletes it.

        Raises
        ------
        ValueError
            If a run, snapshot, kind or device is unknown, or a weight is not finite.
        OSError
            If the file cannot be written.
        """
        return cls.of_zoos(
            {0: (zoo, runs)}, snapshots, kinds=kinds, device=device, file=file
        )

    @classmethod
    def of_zoos(
        cls,
        zoos: Mapping[int, tuple[Zoo, Sequence[int] | None]],
        snapshots: Iterable[int] | None = None,
        *,
        kinds: Collection[str] | None = None,
        device: str = "cpu",
        file: str | Path | None = None,
    ) -> WeightStore:
        """Read snapshots of several zoos, one after the other.

        Parameters
        ----------
        zoos : mapping of int to (Zoo, sequence of int or None)
            Each with the runs that are wanted. The keys are added to its run ids, so
            that no two zoos' nets have one number.
        snapshots, kinds, device, file
            As for :meth:`of_zoo`, with the same errors.
        """
        check_device(device)
        sources: dict[int, tuple[Zoo, int, Layout]] = {}
        for first, (zoo, runs) in zoos.items():
            for run, layout in layouts_of(zoo, runs).items():
                if first + run in sources:
                    raise ValueError(
                        f"two zoos have a run {first + run}: give numbers to add to "
                        "their run ids that keep them apart."
                    )
                sources[first + run] = zoo, run, layout
        if snapshots is None:
            snapshots = next(iter(zoos.values()))[0].snapshots
        epochs = list(snapshots)
        layouts = {run: layout for run, (_, _, layout) in sources.items()}
        kept = {each: _kept(each, kinds) for each in set(layouts.values())}
        index = _index(layouts, kept, epochs)
        if not len(index):
            raise ValueError("no snapshots were asked for: give one at least.")

        def read(number: int) -> NDArray:
            zoo, run, layout = sources[number]
            (vectors,) = zoo.weights([run], epochs)  # [snapshots, d]
            if kinds is not None:
                vectors = vectors[:, kept[layout]]
            if not np.isfinite(vectors).all():
                raise ValueError(
                    f"run {run} has weights that are not finite: leave out nets that "
                    "diverged."
                )
            return vectors.reshape(-1)

        if file is not None:
            path = Path(file).absolute()
            _write(path, map(read, sources))
            return cls(_mapped(path), index, device, path)
        flat, place = torch.empty(index["stop"].iloc[-1], device=device), 0
        for number in sources:
            vector = read(number)
            flat[place : place + len(vector)] = torch.from_numpy(vector)
            place += len(vector)
        return cls(flat, index, device)

    def __len__(self) -> int:
        """Return the number of snapshots."""
        return len(self.index)

    def check(self, rows: ArrayLike, size: int, part: str = "all") -> None:
        """Raise ValueError if there is no such row, or one is too short for a slice.

        Parameters as for :meth:`slices_of`.
        """
        self._checked(rows, size, part)

    def slices(
        self,
        generator: torch.Generator,
        batch: int,
        size: int,
        part: str = "all",
        rows: ArrayLike | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Slices at random places of random rows.

        Parameters
        ----------
        generator : Generator
            On the CPU, so that the same slices are drawn on every device.
        batch : int
            How many.
        size : int
            Weights in a slice.
        part : {"all", "conv", "fc"}
            Where they lie wholly; ``fc`` holds the output layer too.
        rows : sequence of int, optional
            Rows to draw from, all by default.

        Returns
        -------
        slices : Tensor of float32, shape [batch, size]
        rows : Tensor of int64, shape [batch]
            Which row each is of.

        Raises
        ------
        ValueError
            If there is no row, the part is unknown, or shorter than a slice in a row.
        """
        rows = self._checked(rows, size, part)
        chosen = torch.randint(len(rows), (batch,), generator=generator)
        drawn = rows.index_select(0, chosen)
        return self._drawn(drawn, generator, size, part), drawn

    def slices_of(
        self, rows: ArrayLike, generator: torch.Generator, size: int, part: str = "all"
    ) -> Tensor:
        """A slice at a random place of each given row, all places alike.

        Parameters
        ----------
        rows : sequence of int, length n
        generator, size, part
            As for :meth:`slices`, with the same errors.

        Returns
        -------
        Tensor of float32, shape [n, size]
        """
        rows = self._checked(rows, size, part)
        return self._drawn(rows, generator, size, part)

    def grid(
        self, rows: ArrayLike, positions: ArrayLike, size: int, part: str = "all"
    ) -> Tensor:
        """Slices at relative places: the columns of a performance map (Fig. 5).

        Parameters
        ----------
        rows : sequence of int, length n
        positions : sequence of float, length p
            From 0, where the part begins, to 1, the slice that ends with it.
        size, part
            As for :meth:`slices`, with the same errors.

        Returns
        -------
        Tensor of float32, shape [n, p, size]

        Raises
        ------
        ValueError
            If a position is not between 0 and 1.
        """
        places = torch.as_tensor(positions, dtype=torch.float64)
        if not ((places >= 0) & (places <= 1)).all():
            raise ValueError("positions are shares: give numbers from 0 to 1.")
        rows = self._checked(rows, size, part)
        room = self._room(size, part)
        first, n_places = room.first[rows, None], room.places[rows, None]  # [n, 1]
        starts = first + (places * (n_places - 1)).round().long()  # [n, p]
        return self._at(starts.reshape(-1), size).view(*starts.shape, size)

    def __getstate__(self) -> dict:
        """What goes to another process: of a mapped store, no weights."""
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        return state if self.file is None else state | {"flat": None}

    def __setstate__(self, state: dict) -> None:
        """Map the file again."""
        if state["file"] is not None:
            state = state | {"flat": _mapped(state["file"])}
        vars(self).update(state)

    @cached_property
    def _every(self) -> Tensor:
        return torch.arange(len(self))

    @cached_property
    def _rooms(self) -> dict[tuple[int, str], _Room]:
        return {}

    def _room(self, size: int, part: str) -> _Room:
        """Where slices fit; remembered, for a batch takes less time than this."""
        if (size, part) not in self._rooms:
            if size < 1:
                raise ValueError(f"size is {size}: a slice has at least one weight.")
            if part not in PARTS:
                raise ValueError(f"unknown part '{part}': choose one of {list(PARTS)}.")
            start, conv_stop, stop = (
                torch.from_numpy(self.index[name].to_numpy(dtype=np.int64, copy=True))
                for name in _PLACES
            )
            first = conv_stop if part == "fc" else start
            stop = conv_stop if part == "conv" else stop
            places = stop - first - size + 1
            self._rooms[size, part] = _Room(
                first, places.double(), fits=bool((places > 0).all())
            )
        return self._rooms[size, part]

    def _checked(self, rows: ArrayLike | None, size: int, part: str) -> Tensor:
        """Row numbers as a tensor, all by default; ValueError as :meth:`check`."""
        room = self._room(size, part)
        rows = self._every if rows is None else self._numbers(rows)
        if not room.fits and (room.places[rows] < 1).any():
            k = int(room.places[rows].argmin())
            raise ValueError(
                f"part '{part}' of run {self.index['run'].iloc[int(rows[k])]} has "
                f"{int(room.places[rows[k]]) + size - 1} weights, fewer than a slice "
                f"of {size}: choose shorter slices, or other runs."
            )
        return rows

    def _numbers(self, rows: ArrayLike) -> Tensor:
        """Row numbers as a tensor; ValueError if there is no such row, or none."""
        if not isinstance(rows, Tensor):
            rows = torch.from_numpy(np.array(rows, dtype=np.int64))
        if not len(rows):
            raise ValueError("no rows to take slices from: give one at least.")
        for row in torch.stack(rows.aminmax()).tolist():
            if not 0 <= row < len(self):
                raise ValueError(
                    f"no row {row} in a store of {len(self)} snapshots: give row "
                    "numbers of its index."
                )
        return rows

    def _drawn(
        self, rows: Tensor, generator: torch.Generator, size: int, part: str
    ) -> Tensor:
        """:meth:`slices_of` of what is checked."""
        room = self._room(size, part)
        # 53 random bits: of 100,000 places none is more frequent by more than 1e-11.
        share = torch.rand(len(rows), dtype=torch.float64, generator=generator)
        places = share.mul_(room.places.index_select(0, rows)).long()
        return self._at(places.add_(room.first.index_select(0, rows)), size)

    def _at(self, starts: Tensor, size: int) -> Tensor:
        """Slices [n, size] that begin at the given weights."""
        # A view, [places, size], whose rows are copied whole: on a CPU several times
        # as fast as an index of single weights.
        every = self.flat.unfold(0, size, 1)
        return every.index_select(0, starts.to(self.flat.device)).to(self.device)


def _kept(layout: Layout, kinds: Collection[str] | None) -> NDArray:
    """Coordinates that are kept, in order."""
    if kinds is None:
        return np.arange(layout.size)
    if not kinds:
        raise ValueError("no kinds of weights were asked for: give one at least.")
    return np.sort(np.concatenate([layout.select(kind=kind) for kind in kinds]))


def _index(
    layouts: dict[int, Layout], kept: dict[Layout, NDArray], epochs: Sequence[int]
) -> pd.DataFrame:
    """Where each snapshot is: run after run, snapshot after snapshot."""
    rows, start = [], 0
    for run, layout in layouts.items():
        n_conv = int(np.searchsorted(kept[layout], bounds(layout, "conv")[1]))
        for epoch in epochs:
            stop = start + len(kept[layout])
            rows.append((run, epoch, start, start + n_conv, stop))
            start = stop
    return pd.DataFrame(rows, columns=["run", "snapshot", *_PLACES])


def _write(file: Path, vectors: Iterable[NDArray]) -> None:
    """Write vectors to a file, one after the other."""
    # Not written through the map: a full disk is then an error that can be caught.
    # Its own name, for another process may be making the same.
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as sink:
            for vector in vectors:
                vector.tofile(sink)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _mapped(file: Path) -> Tensor:
    """A file's weights; nothing changes them."""
    return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="c"))
