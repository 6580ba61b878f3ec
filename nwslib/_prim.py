"""Compiled loops of single linkage; :mod:`nwslib.clustering` has the entry.

Kept apart so that only a call of it pays for importing numba.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def spanning_order(points, gram, weight, scale):
    """Visit all points by Prim's algorithm, in exact float64 distances.

    Starts at point 0 and always goes on to the point nearest to those visited;
    among equally near ones, to the first. Approximate distances only rule
    points out; the caller guarantees

        weight[i] + weight[j] - 2 gram[i, j] <= (scale * distance(i, j))**2

    Parameters
    ----------
    points : ndarray, shape [n, d]
    gram : ndarray, shape [n, n]
    weight : ndarray of float64, shape [n]
    scale : float

    Returns
    -------
    order : ndarray of int64, shape [n]
        The points as visited.
    heights : ndarray of float64, shape [n - 1]
        Distance of ``order[k + 1]`` to the nearest of ``order[: k + 1]``.
    """
    n = len(points)
    order = np.zeros(n, np.int64)
    heights = np.empty(n - 1)
    visited = np.zeros(n, np.bool_)
    # Point i knows its exact distance to the nearest of order[: settled[i]] and
    # a lower bound (squared and scaled) on that to the later ones.
    settled = np.zeros(n, np.int64)
    exact = np.full(n, np.inf)
    bound = np.full(n, np.inf)

    for k in range(1, n):
        newest = order[k - 1]
        visited[newest] = True
        bound[newest] = np.inf
        best, chosen = np.inf, -1
        least, promising = np.inf, -1
        for i in range(n):
            if visited[i]:
                continue
            bound[i] = min(bound[i], _lower(weight, gram, newest, i))
            if bound[i] < least:
                least, promising = bound[i], i
            if exact[i] < best:
                best, chosen = exact[i], i

        # A good first guess leaves few candidates for the scan after it.
        if least < (best * scale) ** 2:
            exact[promising] = _settle(
                promising, points, gram, weight, scale, order[:k], settled, exact
            )
            bound[promising] = np.inf
            if exact[promising] < best or (
                exact[promising] == best and promising < chosen
            ):
                best, chosen = exact[promising], promising

        limit = (best * scale) ** 2
        for i in range(n):
            if bound[i] < limit or (bound[i] == limit and i < chosen):
                exact[i] = _settle(
                    i, points, gram, weight, scale, order[:k], settled, exact
                )
                bound[i] = np.inf
                if exact[i] < best or (exact[i] == best and i < chosen):
                    best, chosen = exact[i], i
                    limit = (best * scale) ** 2

        order[k] = chosen
        heights[k - 1] = best
    return order, heights


@numba.njit(cache=True)
def _settle(i, points, gram, weight, scale, tree, settled, exact):
    """Exact distance from point ``i`` to the nearest in ``tree``."""
    nearest = exact[i]
    limit = (nearest * scale) ** 2
    # Newest first: along a training trajectory that is usually the nearest.
    for t in range(len(tree) - 1, settled[i] - 1, -1):
        j = tree[t]
        if _lower(weight, gram, i, j) < limit:
            distance = _distance(points[i], points[j])
            if distance < nearest:
                nearest = distance
                limit = (nearest * scale) ** 2
    settled[i] = len(tree)
    return nearest


@numba.njit(cache=True)
def _lower(weight, gram, i, j):
    """Lower bound on the squared, scaled distance of two points."""
    return max(weight[i] + weight[j] - 2.0 * gram[i, j], 0.0)


@numba.njit(cache=True)
def _distance(a, b):
    """Euclidean distance, summed in order in float64, as scipy's pdist does."""
    total = 0.0
    for m in range(len(a)):
        difference = np.float64(a[m]) - np.float64(b[m])
        total += difference * difference
    return np.sqrt(total)


@numba.njit(cache=True)
def merge_table(first, second, heights):
    """Name the clusters that the edges of a spanning tree merge.

    Parameters
    ----------
    first, second : ndarray of int64, shape [n - 1]
        End points of the edges, shortest edge first.
    heights : ndarray of float64, shape [n - 1]
        Their lengths.

    Returns
    -------
    ndarray of float64, shape [n - 1, 4]
        scipy's linkage matrix.
    """
    n = len(heights) + 1
    table = np.empty((n - 1, 4))
    parent = np.arange(2 * n - 1)
    size = np.ones(2 * n - 1, np.int64)
    for t in range(n - 1):
        a, b = _root(parent, first[t]), _root(parent, second[t])
        merged = n + t
        parent[a] = parent[b] = merged
        size[merged] = size[a] + size[b]
        table[t, 0], table[t, 1] = min(a, b), max(a, b)
        table[t, 2], table[t, 3] = heights[t], size[merged]
    return table


@numba.njit(cache=True)
def _root(parent, node):
    """Cluster that holds ``node`` now; shortens the path to it on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
