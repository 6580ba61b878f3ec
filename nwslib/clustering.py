"""Which snapshot belongs to which net: single linkage, cut, purity.

Section 3.2 of Schuerholt & Borth: a net's snapshots lie like pearls on a
string, so each is nearest to the end of the string of those before, and single
linkage finds the strings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.reduction import check_points


def single_linkage(points: ArrayLike) -> NDArray[np.float64]:
    """Single-linkage clustering under the Euclidean distance, exact.

    The result of ``scipy.cluster.hierarchy.linkage(points, "single")``, ties
    included, without its n^2/2 float64 distances. Prim's algorithm needs only
    the nearest point at each step. One float32 matrix product gives every
    distance roughly, with a proven error bound; those that can be the nearest
    are computed in float64 with the additions in scipy's order. (The heights
    agree to the last bit where scipy is built without fused multiply-add, as on
    x86-64, else to rounding.)

    Parameters
    ----------
    points : array_like, shape [n, d]
        One weight vector a row. float32 is used as it is, any other type as
        float64. Takes 4 n^2 bytes beside a float32 copy of the points.

    Returns
    -------
    ndarray, shape [n - 1, 4]
        Row t merges clusters ``Z[t, 0] < Z[t, 1]`` at distance ``Z[t, 2]`` into
        cluster ``n + t`` of ``Z[t, 3]`` points; clusters below n are points.

    Raises
    ------
    ValueError
        If the array is not a matrix of at least two points, or if a point is
        not finite (a diverged net).
    """
    points = check_points(points)
    from nwslib._prim import merge_table, spanning_order

    order, heights = spanning_order(points, *_lower_bounds(points))
    ascending = np.argsort(heights, kind="stable")
    # Point k + 1 was visited from the tree that ends in point k, so this edge
    # merges the same clusters as the true nearest pair would.
    return merge_table(order[:-1][ascending], order[1:][ascending], heights[ascending])


def _lower_bounds(points: NDArray) -> tuple[NDArray, NDArray, float]:
    """Matrix product that bounds every distance from below.

    Returns
    -------
    gram : ndarray, shape [n, n]
    weight : ndarray of float64, shape [n]
    scale : float
        Such that ``weight[i] + weight[j] - 2 gram[i, j]``, evaluated in float64,
        is at most ``(scale * distance(i, j))**2``, with the distance evaluated
        in float64.
    """
    n, d = points.shape
    # The bound below grows with d: float32 would say nothing past 2^24.
    dtype = np.float32 if d < 2**20 else np.float64
    # Rough distances lose digits to a common offset, so it goes first. A power
    # of two brings the points to about 1, out of reach of overflow.
    centre = points.mean(axis=0, dtype=np.float64)  # [d]
    exponent = np.frexp(max(points.max(), -points.min()))[1]
    scale = float(np.ldexp(1.0, min(-exponent, 400)))
    near = np.empty((n, d), dtype)
    squares = np.empty(n)
    for start in range(0, n, 1024):  # blocks: no float64 copy of all points
        rows = slice(start, start + 1024)
        near[rows] = (points[rows] - centre) * scale
        block = near[rows].astype(np.float64)
        squares[rows] = np.einsum("ij,ij->i", block, block)
    gram = near @ near.T  # one triangle is computed and mirrored

    # For rows a, b of `near` let e = a.a + b.b, u and v the unit roundoffs of
    # dtype and float64. In whatever order BLAS adds,
    #   |gram - a.b| <= g |a||b| <= g e / 2,  g = d u / (1 - d u),
    # hence |a - b|^2 >= e - 2 gram - g e. Having rounded the rows to dtype moves
    # |a - b|^2 by at most 4 u e, float64 sums here by d v e, and those of the
    # exact distance by 2 d v e; the 16 leave room for the few operations left.
    # The constant covers products that underflow, flushed to zero or not.
    u, v = np.finfo(dtype).eps / 2, 2.0**-53
    roundoff = (d + 16) * (u + 4 * v)
    slack = roundoff / (1 - roundoff)
    weight = squares * (1 - slack) - d * 2.0**-120
    return gram, weight, scale


def cut(Z: ArrayLike, k: int) -> NDArray[np.int64]:
    """Cut a dendrogram into exactly ``k`` clusters.

    Undoes the last ``k - 1`` merges. Where heights are tied,
    ``scipy.cluster.hierarchy.fcluster`` may return fewer than ``k`` clusters;
    this follows the order of the rows of ``Z`` instead.

    Parameters
    ----------
    Z : array_like, shape [n - 1, 4]
        Linkage matrix, heights ascending.
    k : int
        Number of clusters.

    Returns
    -------
    ndarray of int64, shape [n]
        Cluster of each point, numbered from 0 by first appearance.

    Raises
    ------
    ValueError
        If ``k`` is below 1 or above the number of points.
    """
    Z = np.asarray(Z)
    n = len(Z) + 1
    if not 1 <= k <= n:
        raise ValueError(
            f"cannot cut {n} points into {k} clusters: choose k between 1 and {n}."
        )
    root = np.arange(2 * n - 1)
    for t in reversed(range(n - k)):  # from the highest merge that is kept
        root[Z[t, :2].astype(np.int64)] = root[n + t]
    _, first, cluster = np.unique(root[:n], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[cluster]


def join_heights(Z: ArrayLike) -> NDArray[np.float64]:
    """Height at which each point, alone until then, first merges.

    Parameters
    ----------
    Z : array_like, shape [n - 1, 4]
        Linkage matrix.

    Returns
    -------
    ndarray, shape [n]
        For single linkage the distance to the nearest other point.
    """
    Z = np.asarray(Z)
    n = len(Z) + 1
    heights = np.empty(n)
    for side in (0, 1):
        single = Z[:, side] < n
        heights[Z[single, side].astype(np.int64)] = Z[single, 2]
    return heights


@dataclass(frozen=True)
class Purity:
    """How far clusters coincide with nets; one entry a cluster.

    Attributes
    ----------
    net : ndarray, shape [k]
        The cluster's dominant net, the one with most points in it; the
        smallest of those if several have most.
    share : ndarray, shape [k]
        Points of the dominant net / points in the cluster.
    size : ndarray of int64, shape [k]
        Points in the cluster.
    """

    net: NDArray
    share: NDArray[np.float64]
    size: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Average over clusters, large or small: "Cluster Purity", Tables 2, 3."""
        return float(self.share.mean())


def purity(labels: ArrayLike, nets: ArrayLike) -> Purity:
    """Dominant net of each cluster and its share (Section 3.2 of the paper).

    Parameters
    ----------
    labels : array_like of int, shape [n]
        Cluster of each point, 0 to k - 1, as from :func:`cut`.
    nets : array_like, shape [n]
        Net that each point is a snapshot of.

    Returns
    -------
    Purity

    Raises
    ------
    ValueError
        If the two differ in length or a cluster has no points.
    """
    labels, nets = np.asarray(labels), np.asarray(nets)
    if labels.shape != nets.shape:
        raise ValueError(
            f"{len(labels)} labels do not match {len(nets)} nets: pass one of each "
            "for every point."
        )
    names, net = np.unique(nets, return_inverse=True)
    clusters = labels.max() + 1
    counts = np.zeros((clusters, len(names)), np.int64)
    np.add.at(counts, (labels, net), 1)
    size = counts.sum(axis=1)
    if not size.all():
        raise ValueError(
            f"cluster {np.flatnonzero(size == 0)[0]} has no points: number clusters "
            "from 0 without gaps, as cut does."
        )
    return Purity(names[counts.argmax(axis=1)], counts.max(axis=1) / size, size)
