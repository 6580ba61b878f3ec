"""Performance maps: where in a net, and when, a hyper-parameter can be read.

Eilertsen et al., "Classifying the classifier" (2020), section 5.3, Fig. 5, 20 and 21:
test accuracy over the position of a slice and the progress of training. The SVM's map
(Fig. 5f) is of the same slices, by their statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from nwslib.meta.protocol import Classifier, Examples
from nwslib.meta.weight_store import WeightStore

# Weights that are gathered at once, 32 MB.
_AT_ONCE = 1 << 23


@dataclass(frozen=True, eq=False)
class PerformanceMap:
    """How often slices are told right, by snapshot and position.

    Attributes
    ----------
    right : ndarray of int, shape [snapshots, positions]
        Slices whose class was told.
    nets : ndarray of int, shape [snapshots]
        Nets that were tested at a snapshot, a slice of each at every position.
    snapshots : ndarray of int, shape [snapshots]
        Sorted.
    positions : ndarray, shape [positions]
        Relative: 0 is the part's first slice, 1 its last.
    size : int
        Weights in a slice.
    part : {"all", "conv", "fc"}
    """

    right: NDArray
    nets: NDArray
    snapshots: NDArray
    positions: NDArray
    size: int
    part: str

    @property
    def accuracy(self) -> NDArray:
        """Share of nets, [snapshots, positions]."""
        return self.right / self.nets[:, None]

    @property
    def error(self) -> NDArray:
        """Standard error of each accuracy, if nets were independent."""
        return np.sqrt(self.accuracy * (1 - self.accuracy) / self.nets[:, None])

    def table(self) -> pd.DataFrame:
        """A row a snapshot and position, with its accuracy and number of nets."""
        n_snapshots, n_positions = self.right.shape
        return pd.DataFrame(
            {
                "snapshot": self.snapshots.repeat(n_positions),
                "position": np.tile(self.positions, n_snapshots),
                "accuracy": self.accuracy.reshape(-1),
                "nets": self.nets.repeat(n_positions),
            }
        )


def performance_map(
    classifier: Classifier,
    store: WeightStore,
    examples: Examples,
    positions: ArrayLike,
    size: int,
    part: str = "all",
    features: Callable[[NDArray], NDArray] | None = None,
) -> PerformanceMap:
    """Test a meta-classifier at every position of every snapshot.

    Parameters
    ----------
    classifier : Classifier
        A :class:`~nwslib.meta.dmc_classifier.DeepClassifier`, or any other.
    store : WeightStore
        As many slices are in memory at once as have 8 million weights, or those of
        one net.
    examples : Examples
        Of test nets; features are row numbers of the store, as for training.
    positions : sequence of float
        From 0 to 1, as :meth:`.WeightStore.grid` takes them.
    size, part
        Of the slices that the classifier was trained on.
    features : callable, optional
        Slices [n, size] -> what the classifier reads: for a support vector machine
        :func:`nwslib.features.whole`; by default the slices themselves.

    Returns
    -------
    PerformanceMap

    Raises
    ------
    ValueError
        If there are no examples or positions, a slice does not fit, or the classifier
        reads slices of another size.
    """
    store.check(examples.features, size, part)
    positions = np.asarray(positions, dtype=np.float64)
    if positions.ndim != 1 or not len(positions):
        raise ValueError("positions are a row of shares: give one at least.")
    snapshots, of = np.unique(
        store.index["snapshot"].to_numpy()[examples.features], return_inverse=True
    )
    right = np.zeros((len(snapshots), len(positions)), dtype=np.int64)
    step = max(1, _AT_ONCE // (len(positions) * size))
    for first in range(0, len(examples), step):
        rows = slice(first, first + step)
        some = store.grid(examples.features[rows], positions, size, part)
        some = some.reshape(-1, size)  # [n * positions, size]
        told = classifier.predict(
            some if features is None else features(some.cpu().numpy())
        )
        told = np.reshape(told, (-1, len(positions)))
        np.add.at(right, of[rows], told == examples.labels[rows, None])
    nets = np.bincount(of)
    return PerformanceMap(right, nets, snapshots, positions, size, part)


def pooled(maps: Sequence[PerformanceMap]) -> PerformanceMap:
    """Several rounds' maps as one.

    Raises
    ------
    ValueError
        If there is none, or they differ in anything but what was told.
    """
    if not maps:
        raise ValueError("no maps to pool: give one at least.")
    first = maps[0]
    for other in maps[1:]:
        if (
            not np.array_equal(first.snapshots, other.snapshots)
            or not np.array_equal(first.positions, other.positions)
            or (first.size, first.part) != (other.size, other.part)
        ):
            raise ValueError(
                "maps of other snapshots, positions, sizes or parts cannot be pooled: "
                "make all of them alike."
            )
    return replace(
        first,
        right=sum(each.right for each in maps),
        nets=sum(each.nets for each in maps),
    )
