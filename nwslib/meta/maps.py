"""Performance maps: how often a slice is right by its place and by the net's progress.

Eilertsen et al., "Classifying the classifier" (2020), section 5.3: a local classifier
is asked about slices from everywhere in a net and from every moment of its training
(Fig. 5, 20 and 21).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.meta.dmc_classifier import AT_ONCE
from nwslib.meta.protocol import Classifier, Examples
from nwslib.meta.weight_store import WeightStore


@dataclass(frozen=True, eq=False)
class PerformanceMap:
    """Accuracies of a local classifier.

    Attributes
    ----------
    accuracy : ndarray, shape [snapshots, places]
        Share of nets that it is right about.
    snapshots : ndarray of int, shape [snapshots]
    places : ndarray, shape [places]
        From 0, where the part of a net begins, to 1, the slice that ends with it.
    n_nets : int
        Nets that each accuracy is of.
    """

    accuracy: NDArray
    snapshots: NDArray
    places: NDArray
    n_nets: int


def performance_map(
    classifier: Classifier,
    store: WeightStore,
    examples: Examples,
    places: ArrayLike,
    *,
    size: int,
    part: str = "all",
    describe: Callable[[NDArray], NDArray] | None = None,
) -> PerformanceMap:
    """Ask a classifier about slices of nets at given places, a few rows at a time.

    Parameters
    ----------
    classifier : Classifier
        What ``predict`` takes: slices, [n, size], or what ``describe`` makes of them.
    store : WeightStore
    examples : Examples
        Features are row numbers of the store; each net has a row a snapshot, and all
        have the same snapshots.
    places : sequence of float, length p
        Relative to the part, so that nets of any length are asked alike.
    size : int
        Weights in a slice.
    part : {"all", "conv", "fc"}
    describe : callable, optional
        Slices [n, size] -> features [n, k], for a classifier of statistics.

    Raises
    ------
    ValueError
        If there is nothing to ask about, or some net lacks a snapshot; as
        :meth:`WeightStore.grid`.
    """
    if not len(examples):
        raise ValueError("no nets to ask about: give rows of one at least.")
    snapshot = store.index["snapshot"].to_numpy()[examples.features]
    snapshots, of_row = np.unique(snapshot, return_inverse=True)
    counts = np.bincount(of_row)
    n_nets = len(np.unique(examples.runs))
    if (counts != n_nets).any():
        k = int((counts != n_nets).argmax())
        raise ValueError(
            f"snapshot {snapshots[k]} has {counts[k]} rows and there are {n_nets} "
            "nets: give a row of each net at each snapshot."
        )
    places = np.asarray(places, dtype=float)
    right = np.zeros((len(snapshots), len(places)))
    step = max(1, AT_ONCE // len(places))
    for first in range(0, len(examples), step):
        rows = slice(first, first + step)
        grid = store.grid(examples.features[rows], places, size, part)
        slices = grid.reshape(-1, size)  # [rows * places, size]
        asked = slices if describe is None else describe(slices.cpu().numpy())
        predicted = np.asarray(classifier.predict(asked)).reshape(-1, len(places))
        np.add.at(right, of_row[rows], predicted == examples.labels[rows, None])
    return PerformanceMap(right / n_nets, snapshots, places, n_nets)
