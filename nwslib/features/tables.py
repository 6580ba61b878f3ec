"""Features of a zoo's snapshots, in a table: for a zoo larger than memory, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nwslib.features.groups import bounds, layerwise_names
from nwslib.features.statistics import NAMES
from nwslib.features.vectors import layerwise, slices, whole
from nwslib.flatten import Layout
from nwslib.zoo import Zoo


@dataclass(frozen=True, eq=False)
class Table:
    """Features of a zoo's snapshots.

    Attributes
    ----------
    values : ndarray of float64, shape [rows, k]
    index : DataFrame
        Of each row ``run`` and ``snapshot``, and ``start`` if it is of a slice.
    names : tuple of str, length k
    """

    values: NDArray
    index: pd.DataFrame
    names: tuple[str, ...]


def of_zoo(
    zoo: Zoo,
    kind: str = "layerwise",
    runs: Sequence[int] | None = None,
    snapshots: Iterable[int] | None = None,
    gradient: str | None = None,
) -> Table:
    """Features of a zoo's snapshots; a thread has one run in memory at a time.

    Parameters
    ----------
    zoo : Zoo
        Of one layout or several.
    kind : {"layerwise", "whole"}
    runs : sequence of int, optional
        Ids, each taken once; all runs by default.
    snapshots : iterable of int, optional
        All by default.
    gradient : {"group", "across"}, optional
        Reading of the gradient; that of :func:`layerwise` or :func:`whole` by default.

    Returns
    -------
    Table
        A row a snapshot, run after run.

    Raises
    ------
    ValueError
        If the kind, the reading, a run or a snapshot is unknown, or a layout lacks a
        group.
    """
    if kind not in ("layerwise", "whole"):
        raise ValueError(f"unknown kind '{kind}': choose 'layerwise' or 'whole'.")
    gradient = gradient or ("group" if kind == "layerwise" else "across")
    layouts, epochs = layouts_of(zoo, runs), _epochs(zoo, snapshots)
    names = NAMES
    if kind == "layerwise":
        (names,) = {layerwise_names(layout) for layout in layouts.values()}

    def of_run(run: int) -> NDArray:
        (vectors,) = zoo.weights([run], epochs)  # [snapshots, d]
        if kind == "whole":
            return whole(vectors, gradient, layouts[run])
        return layerwise(vectors, layouts[run], gradient)

    values = _each(of_run, layouts)
    index = pd.DataFrame(
        {
            "run": np.repeat(list(layouts), len(epochs)),
            "snapshot": np.tile(epochs, len(layouts)),
        }
    )
    return Table(values, index, names)


def slices_of_zoo(
    zoo: Zoo,
    size: int = 5000,
    per_net: int = 10,
    part: str = "all",
    runs: Sequence[int] | None = None,
    snapshots: Iterable[int] | None = None,
    seed: int = 0,
) -> Table:
    """Features of slices at random places, read as :func:`of_zoo` reads.

    A run's places follow from ``seed`` and its id, whatever else is asked for, and are
    the same in all its snapshots.

    Parameters
    ----------
    zoo : Zoo
        Of one layout or several.
    size : int
        Weights in a slice (the paper's are 5,000).
    per_net : int
        Slices of each snapshot.
    part : {"all", "conv", "fc"}
        Where they lie wholly: anywhere, in the convolutions, in the fully connected
        layers with the output layer.
    runs : sequence of int, optional
        Ids, each taken once; all runs by default.
    snapshots : iterable of int, optional
        All by default.
    seed : int

    Returns
    -------
    Table
        A row a slice, snapshot after snapshot, run after run.

    Raises
    ------
    ValueError
        If the part, a run or a snapshot is unknown, or a part is shorter than a slice.
    """
    if per_net < 1:
        raise ValueError(f"per_net is {per_net}: take at least one slice a net.")
    layouts, epochs = layouts_of(zoo, runs), _epochs(zoo, snapshots)
    for run, layout in layouts.items():
        first, stop = bounds(layout, part)
        if stop - first < size:
            raise ValueError(
                f"part '{part}' of run {run} has {stop - first} weights, fewer than a "
                f"slice of {size}: choose shorter slices, or other runs."
            )

    def drawn(run: int) -> NDArray:
        first, stop = bounds(layouts[run], part)
        rng = np.random.default_rng([seed, run])
        return rng.integers(first, stop - size, per_net, endpoint=True)

    def of_run(run: int) -> NDArray:
        (vectors,) = zoo.weights([run], epochs)  # [snapshots, d]
        starts = np.tile(drawn(run), (len(epochs), 1))  # [snapshots, per_net]
        return slices(vectors, starts, size).reshape(-1, len(NAMES))

    values = _each(of_run, layouts)
    index = pd.DataFrame(
        {
            "run": np.repeat(list(layouts), len(epochs) * per_net),
            "snapshot": np.tile(np.repeat(epochs, per_net), len(layouts)),
            "start": np.concatenate(
                [np.tile(drawn(run), len(epochs)) for run in layouts]
            ),
        }
    )
    return Table(values, index, NAMES)


def _each(of_run: Callable[[int], NDArray], runs: Iterable[int]) -> NDArray:
    """Rows of all runs, in torch's number of threads: numpy's loops free the GIL."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return np.concatenate(list(pool.map(of_run, runs)))


def layouts_of(zoo: Zoo, runs: Sequence[int] | None) -> dict[int, Layout]:
    """Look up the layout of each run that is asked for.

    Parameters
    ----------
    zoo : Zoo
        Of one layout or several.
    runs : sequence of int or None
        Ids; all runs if None.

    Returns
    -------
    dict of int to Layout
        By run id, in the order asked for, each once.

    Raises
    ------
    ValueError
        If a run is unknown, or none is asked for.
    """
    known = zoo.runs.set_index("run")
    ids = known.index.tolist() if runs is None else np.asarray(runs).tolist()
    if not ids:
        raise ValueError("no runs were asked for: give one at least.")
    if unknown := [run for run in ids if run not in known.index]:
        raise ValueError(
            f"no run {unknown[0]} in zoo {zoo.path}: choose among its {len(known)} "
            "runs, zoo.runs."
        )
    if len(zoo.layouts) == 1:
        return dict.fromkeys(ids, zoo.layout)
    return {run: zoo.layouts[known.at[run, "layout"]] for run in ids}


def _epochs(zoo: Zoo, snapshots: Iterable[int] | None) -> list[int]:
    return list(zoo.snapshots if snapshots is None else snapshots)
