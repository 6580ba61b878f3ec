"""Which snapshot belongs to which net: single linkage, cut, purity.

Section 3.2 of Schuerholt & Borth: a net's snapshots lie like pearls on a
string, so each is nearest to the end of the string of those before, and single
linkage finds the strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.reduction import check_points


def single_linkage(
    points: ArrayLike, *, memory: int = 2**27, device: str = "cpu"
) -> NDArray[np.float64]:
    """Single-linkage clustering under the Euclidean distance, exact.

    The result of ``scipy.cluster.hierarchy.linkage(points, "single")``, ties
    included, without its n^2/2 float64 distances. One float32 matrix product, a
    tile at a time, bounds all distances from below; of each tile only the least
    bounds are kept, from every point to every strip of points. Boruvka's
    algorithm then looks into those strips that can hold the nearest point, with
    distances in float64 and the additions in scipy's order. (The heights agree to
    the last bit where scipy is built without fused multiply-add, as on x86-64,
    else to rounding.) Where heights are tied, the order of rows follows from all
    edges of that length, which a second product finds.

    Parameters
    ----------
    points : array_like, shape [n, d]
        One weight vector a row. float32 is used as it is, any other type as
        float64.
    memory : int
        Bytes for the table of bounds, and for tied edges; a float32 copy of the
        points comes on top, and a quarter of the table for notes. Less makes
        strips wider and takes longer; the result is the same.
    device : str
        Where the matrix product is computed, without TF32.

    Returns
    -------
    ndarray, shape [n - 1, 4]
        Row t merges clusters ``Z[t, 0] < Z[t, 1]`` at distance ``Z[t, 2]`` into
        cluster ``n + t`` of ``Z[t, 3]`` points; clusters below n are points.

    Raises
    ------
    ValueError
        If the array is not a matrix of at least two points, if a point is not
        finite (a diverged net), if ``memory`` is too small for n points, or if
        the device is not available.
    """
    points = check_points(points)
    n = len(points)
    if memory < 8 * n:
        raise ValueError(
            f"a memory of {memory} bytes is too small for {n} points: give at least "
            f"{8 * n}."
        )
    from nwslib import _spanning
    from nwslib._device import check_device

    check_device(device)
    twin_of = _twins(points)
    distinct = twin_of == np.arange(n)
    rows, twins = np.flatnonzero(distinct), np.flatnonzero(~distinct)
    tree = _spanning_tree(points, rows, memory, device)
    joined = twins, twin_of[twins], np.zeros(len(twins))
    first, second, heights = map(np.concatenate, zip(joined, tree, strict=True))
    if len(np.unique(heights)) < n - 1:
        edges = _tied_edges(points, rows, *tree, memory, device)
        if edges is None:
            order, heights = _spanning.visit_all(points)
        else:
            order, heights = _spanning.visit_sparse(twin_of, *edges)
        # Point k + 1 was visited from the tree that ends in point k, so this edge
        # merges the same clusters as the true nearest pair would.
        first, second = order[:-1], order[1:]
    ascending = np.argsort(heights, kind="stable")
    return _spanning.merge_table(
        first[ascending], second[ascending], heights[ascending]
    )


def _twins(points: NDArray) -> NDArray[np.int64]:
    """The first point that is equal to each."""
    n, d = points.shape
    # Points that differ mostly do so in any few coordinates.
    few = np.linspace(0, d - 1, min(d, 8)).astype(np.int64)
    _, kind, count = np.unique(
        points[:, few], axis=0, return_inverse=True, return_counts=True
    )
    alike = np.flatnonzero(count[kind.reshape(-1)] > 1)
    # ... + 0, because 0.0 and -0.0 are equal
    digests = [
        blake2b(row + points.dtype.type(0), digest_size=16).digest()
        for row in map(points.__getitem__, alike)
    ]
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    twin_of = np.arange(n)
    twin_of[alike] = alike[first[inverse]]
    return twin_of


def _spanning_tree(
    points: NDArray, rows: NDArray, memory: int, device: str
) -> tuple[NDArray, NDArray, NDArray]:
    """Minimum spanning tree of some of the points: end points, lengths."""
    if len(rows) == 1:
        return rows[:0], rows[:0], np.empty(0)
    import torch

    from nwslib._rough import RoughPoints, strip_bounds
    from nwslib._spanning import spanning_tree

    # Strips of fewer points are searched faster, but there are more of them.
    width = 32
    while 4 * len(rows) * (len(rows) // width + 1) > memory:
        width *= 2
    rough = RoughPoints(points, rows, width, device)
    rough.gather()
    bounds = strip_bounds(rough, width)
    rows, scale = rough.rows, rough.scale
    del rough  # as large as the points
    threads = torch.get_num_threads()
    first, second, lengths = spanning_tree(points, rows, bounds, width, scale, threads)
    return rows[first], rows[second], lengths


def _tied_edges(
    points: NDArray, rows: NDArray, first: NDArray, second: NDArray, lengths: NDArray,
    memory: int, device: str,
) -> tuple[NDArray, NDArray, NDArray] | None:  # fmt: skip
    """All edges that some minimum spanning tree holds, from one such tree.

    They are those exactly as long as the height at which their ends merge. None if
    they take more than the memory.
    """
    from nwslib._rough import RoughPoints, near_cophenetic
    from nwslib._spanning import have_length, leaf_order

    ascending = np.argsort(lengths, kind="stable")
    ends = np.searchsorted(rows, [first[ascending], second[ascending]])
    order, gaps = leaf_order(*ends, lengths[ascending])
    rough = RoughPoints(points, rows[order], 32, device)
    edges, size = [(first[:0], second[:0], lengths[:0])], 0
    for i, j, heights in near_cophenetic(rough, gaps):
        i, j = rough.rows[i], rough.rows[j]
        equal = have_length(points, i, j, heights)
        edges.append((i[equal], j[equal], heights[equal]))
        size += sum(part.nbytes for part in edges[-1])
        if size > memory:
            return None
    i, j, heights = (np.concatenate(part) for part in zip(*edges, strict=True))
    return i, j, heights


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
