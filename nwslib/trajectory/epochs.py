"""The order of epochs along a path, found without labels.

Section 3.2 of Schuerholt & Borth: nets take large steps first and small ones later,
so within a cluster the distance at which a snapshot joins should fall from epoch to
epoch and give their order away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nwslib.clustering import Purity, cut, join_heights, purity, single_linkage

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Order:
    """How well decreasing distance puts one net's snapshots in order.

    Attributes
    ----------
    initial : float
        Epochs in place, from the first on, before the first wrong one.
    pairs : float
        Share of the steps in the reconstructed order that lead from an epoch to
        the next; NaN for a single snapshot, which has no steps.
    """

    initial: float
    pairs: float


def order(distances: ArrayLike, epochs: ArrayLike, ties: str = "expected") -> Order:
    """Order snapshots by decreasing distance and compare with their epochs.

    "Next" and "in place" refer to the epochs that are given: snapshots that
    ended in another cluster leave no gap.

    Equal distances say nothing about order, and they are the rule: the two
    snapshots that merge with each other do so at one height. Both measures are
    therefore expected values over all orders of tied snapshots, each equally
    likely. So they depend neither on the order of the input, which often is the
    order of the epochs, nor on chance.

    Parameters
    ----------
    distances : array_like, shape [n]
        Distance of each snapshot, here the height at which it joins its cluster.
    epochs : array_like, shape [n]
        Epoch of each snapshot, no two alike.
    ties : {"expected", "forward"}
        ``forward`` puts tied snapshots in the order of their epochs, as a stable
        sort of a file that is in that order does. That order knows the answer: no
        other gives a greater ``initial``. It is here because the paper does not
        say how it broke ties.

    Returns
    -------
    Order
        Without ties an ``initial`` from 0 to n, whole, and ``pairs`` a multiple
        of 1 / (n - 1).

    Raises
    ------
    ValueError
        If the two differ in length, are empty, an epoch occurs twice, or ``ties``
        is neither word.

    Examples
    --------
    Epochs 0 and 1 come first; 3 precedes 2, and 4 is tied with 5.

    >>> order([9, 8, 6, 7, 5, 5], epochs=[0, 1, 2, 3, 4, 5])
    Order(initial=2.0, pairs=0.3)
    """
    distances, epochs = np.asarray(distances), np.asarray(epochs)
    if distances.shape != epochs.shape or distances.size == 0:
        raise ValueError(
            f"{distances.size} distances for {epochs.size} epochs: pass one of each "
            "for every snapshot, at least one."
        )
    if ties not in ("expected", "forward"):
        raise ValueError(f"unknown ties '{ties}': choose expected or forward.")
    present, rank = np.unique(epochs, return_inverse=True)
    if len(present) < len(epochs):
        twice = present[np.bincount(rank) > 1][0]
        raise ValueError(
            f"epoch {twice} occurs twice: pass each snapshot of a net once."
        )
    if ties == "forward":
        place = np.empty(len(epochs))
        place[np.lexsort((epochs, -distances))] = np.arange(len(epochs))
        distances = -place
    # Ranks of tied snapshots, one array a height, greatest height first.
    _, tie = np.unique(-distances, return_inverse=True)
    groups = [rank[tie == g] for g in range(tie.max() + 1)]
    steps = len(epochs) - 1
    pairs = _expected_pairs(groups) / steps if steps else math.nan
    return Order(_expected_initial(groups), pairs)


def _expected_initial(groups: list[np.ndarray]) -> float:
    """Expected number of leading snapshots in place."""
    expected, chance, place = 0.0, 1.0, 0
    for group in groups:
        for left in range(len(group), 0, -1):
            if place not in group:
                return expected
            chance /= left  # any of those left may stand here
            expected += chance
            place += 1
    return expected


def _expected_pairs(groups: list[np.ndarray]) -> float:
    """Expected number of adjacent (rank, rank + 1)."""
    expected = 0.0
    for g, group in enumerate(groups):
        # Of all orders of m snapshots, a stands right before b in one of m.
        expected += np.isin(group + 1, group).sum() / len(group)
        if g + 1 < len(groups):  # last of this group, first of the next
            after = groups[g + 1]
            expected += np.isin(group + 1, after).sum() / (len(group) * len(after))
    return float(expected)


@dataclass(frozen=True)
class EpochOrder:
    """Order of epochs in every cluster: a row of Table 2 or 3.

    Attributes
    ----------
    clusters : DataFrame, a row a cluster
        ``net`` (the dominant one), ``snapshots`` (of that net), and its
        ``ordered_initial`` and ``ordered_pairs``, see :class:`Order`.
    """

    clusters: DataFrame

    @property
    def initial(self) -> float:
        """Average over clusters: "# of ordered initial epochs"."""
        return float(self.clusters["ordered_initial"].mean())

    @property
    def pairs(self) -> float:
        """Average over clusters: "% of ordered epochs", as a share.

        Clusters whose dominant net has one snapshot, hence no pair, are left
        out; NaN if no cluster has more.
        """
        return float(self.clusters["ordered_pairs"].mean())


def epoch_order(
    Z: ArrayLike,
    labels: ArrayLike,
    nets: ArrayLike,
    epochs: ArrayLike,
    ties: str = "expected",
) -> EpochOrder:
    """Order the dominant net's snapshots in each cluster by decreasing distance.

    Parameters
    ----------
    Z : array_like, shape [n - 1, 4]
        Linkage matrix of all snapshots; a snapshot's distance is the height at
        which it first merges.
    labels : array_like of int, shape [n]
        Cluster of each snapshot, as from :func:`nwslib.clustering.cut`.
    nets, epochs : array_like, shape [n]
        Net and epoch of each snapshot.
    ties : {"expected", "forward"}
        See :func:`order`.

    Returns
    -------
    EpochOrder

    Raises
    ------
    ValueError
        If the lengths differ, a cluster has no points, or a net has two
        snapshots of one epoch in a cluster.
    """
    from pandas import DataFrame

    labels, nets, epochs = np.asarray(labels), np.asarray(nets), np.asarray(epochs)
    heights = join_heights(Z)
    if not len(heights) == len(labels) == len(nets) == len(epochs):
        raise ValueError(
            f"Z has {len(heights)} points, but there are {len(labels)} labels, "
            f"{len(nets)} nets and {len(epochs)} epochs: pass one of each for every "
            "point."
        )
    rows = []
    for cluster, net in enumerate(purity(labels, nets).net):
        mine = (labels == cluster) & (nets == net)
        measured = order(heights[mine], epochs[mine], ties)
        rows.append((net, mine.sum(), measured.initial, measured.pairs))
    columns = ["net", "snapshots", "ordered_initial", "ordered_pairs"]
    return EpochOrder(DataFrame(rows, columns=columns).rename_axis("cluster"))


@dataclass(frozen=True)
class Assignment:
    """Snapshots of many nets, clustered without labels and held against the truth.

    Attributes
    ----------
    Z : ndarray, shape [n - 1, 4]
        Single-linkage merges of all snapshots.
    labels : ndarray of int, shape [n]
        Cluster of each snapshot, as many clusters as nets.
    purity : Purity
    order, order_forward : EpochOrder
        With ties counted as expected values, and broken in favour of the epochs.
    """

    Z: np.ndarray
    labels: np.ndarray
    purity: Purity
    order: EpochOrder
    order_forward: EpochOrder

    def scores(self) -> dict[str, float]:
        """The means that Tables 2 and 3 print, by name."""
        return {
            "purity": self.purity.mean,
            "ordered_initial": self.order.initial,
            "ordered_pairs": self.order.pairs,
            "ordered_initial_forward": self.order_forward.initial,
            "ordered_pairs_forward": self.order_forward.pairs,
        }


def assign(points: ArrayLike, nets: ArrayLike, epochs: ArrayLike) -> Assignment:
    """Repeat Section 3.2: cluster, cut into as many clusters as nets, compare.

    Parameters
    ----------
    points : array_like, shape [n, d]
        Snapshots in weight space or a reduction of it.
    nets, epochs : array_like, shape [n]
        The truth about each snapshot; only the comparison sees it.

    Raises
    ------
    ValueError
        As the steps it calls, :func:`nwslib.clustering.single_linkage` first.
    """
    Z = single_linkage(points)
    labels = cut(Z, len(np.unique(nets)))
    return Assignment(
        Z,
        labels,
        purity(labels, nets),
        epoch_order(Z, labels, nets, epochs),
        epoch_order(Z, labels, nets, epochs, ties="forward"),
    )
