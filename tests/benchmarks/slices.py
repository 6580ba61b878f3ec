"""Rows ``slices-*``: the time to draw a random slice of weights, and its label.

All draw batches of 64 at random places of random snapshots of the fixed architecture.
``data-set`` is what one would write: a torch ``Dataset`` that cuts one slice out of
its run's array, behind a ``DataLoader``, in this process or in two more. ``numpy`` is
the least that cuts one slice at a time: one array of all weights, a view a slice, one
stack; no data set, no tensors. The limit is a copy of as many bytes, in one large one.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from measuring import Row, copy_seconds, seconds, some, take_turns
from nwslib.meta.weight_store import WeightStore
from nwslib.nws.architecture import FIXED

SIZES = (100, 1000, 5000, 20_000)
N_RUNS, SNAPSHOTS, BATCH, BATCHES = 50, 4, 64, 100
_WORKERS = 2
_ROUNDS = 5
_COPIED = 1 << 25  # weights: more than caches hold
_LENGTH = FIXED.n_weights  # counted anew whenever it is asked for


def row(size: int, share: float) -> Row:
    """Microseconds for a slice of so many weights."""
    runs, batches = some(N_RUNS, share), some(BATCHES, share)
    store = random_store(runs)
    labels = torch.arange(len(store)) % 5
    generator = torch.Generator().manual_seed(0)
    slices = BATCH * batches

    def ours() -> None:
        for _ in range(batches):
            _, rows = store.slices(generator, BATCH, size)
            labels[rows]

    draw = partial(one_by_one, store, np.random.default_rng(0), size)

    numpy_labels = labels.numpy()

    def numpy() -> None:
        for _ in range(batches):
            _, rows = draw()
            numpy_labels[rows]

    works = {"ours": ours, "numpy": numpy}
    for workers in {0, _WORKERS}:
        loader = DataLoader(
            _Slices(store, labels, size, slices), BATCH, num_workers=workers,
            persistent_workers=workers > 0,
        )  # fmt: skip
        name = f"data-set-{workers}-workers" if workers else "data-set"
        works[name] = partial(_exhaust, loader)
    for work in works.values():
        work()  # warm-up; workers start
    rounds = take_turns(
        {
            name: lambda work=work: 1e6 * seconds(work) / slices
            for name, work in works.items()
        },
        some(_ROUNDS, share, least=1),
    )
    facts = {"batch": BATCH, "nets": len(store), "threads": torch.get_num_threads()}
    limit = 1e6 * size * copy_seconds(_COPIED) / _COPIED
    return Row.of(f"slices-{size}", "us/slice", rounds, limit=limit, facts=facts)


def random_store(runs: int) -> WeightStore:
    """Nets of the fixed architecture with normal weights."""
    start = np.arange(runs * SNAPSHOTS) * _LENGTH
    run, snapshot = np.divmod(np.arange(runs * SNAPSHOTS), SNAPSHOTS)
    index = pd.DataFrame({"run": run, "snapshot": snapshot, "start": start})
    index["conv_stop"] = start + FIXED.n_conv_weights
    index["stop"] = start + _LENGTH
    generator = torch.Generator().manual_seed(0)
    return WeightStore(torch.randn(len(start) * _LENGTH, generator=generator), index)


def one_by_one(
    store: WeightStore, rng: np.random.Generator, size: int
) -> tuple[NDArray, NDArray]:
    """A batch as numpy cuts it, [64, size], and its rows."""
    flat = store.flat.numpy()
    rows = rng.integers(len(store), size=BATCH)
    starts = rows * _LENGTH + rng.integers(_LENGTH - size + 1, size=BATCH)
    return np.stack([flat[start : start + size] for start in starts]), rows


class _Slices(Dataset):
    """A random slice of a random snapshot, whatever item is asked for."""

    def __init__(
        self, store: WeightStore, labels: torch.Tensor, size: int, count: int
    ) -> None:
        shape = -1, SNAPSHOTS, _LENGTH
        self._runs = list(store.flat.numpy().reshape(shape))
        self._labels, self._size, self._count = labels, size, count
        self._rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, _: int) -> tuple[torch.Tensor, torch.Tensor]:
        row = self._rng.integers(len(self._runs) * SNAPSHOTS)
        vector = self._runs[row // SNAPSHOTS][row % SNAPSHOTS]
        start = self._rng.integers(len(vector) - self._size + 1)
        return torch.tensor(vector[start : start + self._size]), self._labels[row]


def _exhaust(loader: DataLoader) -> None:
    for _ in loader:
        pass
