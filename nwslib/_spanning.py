"""Spanning trees in exact distances: the compiled loops of single linkage.

Kept apart so that only a call of it pays for importing numba. Distances are those
of scipy's pdist to the last bit: float64, summed in order.
:mod:`nwslib.clustering` has the entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from heapq import heappop, heappush

import numpy as np
from numba import njit
from numpy.typing import NDArray

_jit = njit(nogil=True, cache=True, error_model="numpy")
_CHUNK = 128  # coordinates between two looks at whether the sum is large enough


def spanning_tree(
    points: NDArray, rows: NDArray, bounds: NDArray, width: int, scale: float,
    threads: int,
) -> tuple[NDArray, NDArray, NDArray]:  # fmt: skip
    """Minimum spanning tree by Boruvka's algorithm.

    In each round every component but the largest finds its nearest point outside.

    Parameters
    ----------
    points : ndarray, shape [n, d]
    rows : ndarray of int64, shape [m]
        The row of ``points`` at each position.
    bounds : ndarray of float32, shape [m, strips]
        At most ``(scale * distance)**2`` from a position to any other in the
        strip of ``width`` positions. Tightened in place.
    width : int
    scale : float
    threads : int

    Returns
    -------
    first, second : ndarray of int64, shape [m - 1]
        Positions that an edge joins.
    lengths : ndarray of float64, shape [m - 1]
    """
    m = len(rows)
    component = np.arange(m)
    found = []
    with ThreadPoolExecutor(threads) as pool:
        while (components := component.max() + 1) > 1:
            members = np.argsort(component, kind="stable")
            starts = np.searchsorted(component[members], np.arange(components + 1))
            asked = np.delete(np.arange(components), np.diff(starts).argmax())
            searched = np.zeros(bounds.shape, np.bool_)
            search = partial(
                _nearest_outside, points, rows, bounds, searched, width, scale,
                component, members, starts,
            )  # fmt: skip
            # many small parts: some components take longer than others
            parts = np.array_split(asked, min(16 * threads, len(asked)))
            edges = _concatenate(pool.map(search, parts))
            component, used = _join(component, components, *edges[:2])
            found.append([e[used] for e in edges])
    return _concatenate(found)


def _concatenate(edges: Iterable[Sequence[NDArray]]) -> tuple[NDArray, ...]:
    """Lists of edges, each (first, second, lengths), as one."""
    return tuple(np.concatenate(part) for part in zip(*edges, strict=True))


@_jit
def _nearest_outside(
    points, rows, bounds, searched, width, scale, component, members, starts, asked
):
    """Shortest edge that leaves each of the components ``asked``."""
    first = np.empty(len(asked), np.int64)
    second = np.empty(len(asked), np.int64)
    lengths = np.empty(len(asked))
    for k in range(len(asked)):
        inside = members[starts[asked[k]] : starts[asked[k] + 1]]
        best, source, target = np.inf, -1, -1
        strip = np.empty(len(inside), np.int64)
        least = np.empty(len(inside), np.float32)
        for a in range(len(inside)):
            i = inside[a]
            strip[a], least[a] = _least(bounds[i], searched[i])
        # The most promising strip first, each once.
        while True:
            a = least.argmin()
            if not least[a] < (best * scale) ** 2:
                break
            i = inside[a]
            length, j = _search_strip(
                i, strip[a], best, points, rows, bounds, width, scale, component
            )
            if length < best:
                best, source, target = length, i, j
            searched[i, strip[a]] = True
            strip[a], least[a] = _least(bounds[i], searched[i])
        first[k], second[k], lengths[k] = source, target, best
    return first, second, lengths


@_jit
def _least(bounds, searched):
    """Strip not searched yet of the least bound, and that bound."""
    where, least = 0, np.float32(np.inf)
    for s in range(len(bounds)):
        if bounds[s] < least and not searched[s]:
            where, least = s, bounds[s]
    return where, least


@_jit
def _search_strip(i, strip, best, points, rows, bounds, width, scale, component):
    """Nearest position in a strip that is outside i's component; tighten its bound.

    Returns
    -------
    best : float
        Its distance, or the given ``best`` if none is nearer.
    nearest : int
    """
    nearest, least = -1, np.inf
    here, home = points[rows[i]], i // width
    for j in range(strip * width, min((strip + 1) * width, len(rows))):
        if component[j] == component[i]:
            continue
        # What j knows of i's strip may do. Another thread may be tightening it:
        # the bound holds before and after.
        bound = np.float64(bounds[j, home])
        if bound < (best * scale) ** 2:
            square = _squared_distance(here, points[rows[j]], best * best)
            if square <= best * best:
                length = _distance(here, points[rows[j]])
                if length < best:
                    best, nearest = length, j
            square = (square * scale) * scale * (1 - 2.0**-22) - 2.0**-120
            bound = max(bound, square)
        least = min(least, bound)
    bounds[i, strip] = max(bounds[i, strip], np.float32(least))
    return best, nearest


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz", "contract"})
def _squared_distance(a, b, limit):
    """Lower bound on the squared distance, a few roundings off if below ``limit``.

    Sums in any order, so several coordinates at once. n roundings up move a sum of
    n squares by less than (n + 8) 2^-52 of it, here and in the exact distance.
    """
    d = len(a)
    share = 1 - (d + 8) * 2.0**-51
    total = 0.0
    for start in range(0, d, _CHUNK):
        part = 0.0
        for m in range(start, min(start + _CHUNK, d)):
            difference = np.float64(a[m]) - np.float64(b[m])
            part += difference * difference
        total += part
        if total * share > limit:
            break
    return total * share - d * 2.0**-1070


@_jit
def _distance(a, b):
    """Euclidean distance, summed in order in float64, as scipy's pdist does."""
    total = 0.0
    for m in range(len(a)):
        difference = np.float64(a[m]) - np.float64(b[m])
        total += difference * difference
    return np.sqrt(total)


@_jit
def _join(component, components, first, second):
    """Join components by edges; number the new ones, and say which edges served."""
    parent = np.arange(components)
    used = np.zeros(len(first), np.bool_)
    for e in range(len(first)):
        a, b = _root(parent, component[first[e]]), _root(parent, component[second[e]])
        # Among equal lengths the edges that components choose can close a circle.
        if a != b:
            parent[max(a, b)] = min(a, b)
            used[e] = True
    number = np.empty(components, np.int64)
    count = 0
    for c in range(components):
        if parent[c] == c:
            number[c] = count
            count += 1
    joined = np.empty_like(component)
    for i in range(len(component)):
        joined[i] = number[_root(parent, component[i])]
    return joined, used


@_jit
def _root(parent, node):
    """Cluster that holds ``node`` now; shortens the path to it on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@_jit
def leaf_order(first, second, heights):
    """Leaves of the dendrogram in a row, no branches crossing.

    Parameters
    ----------
    first, second, heights : ndarray, shape [m - 1]
        Edges of a spanning tree, shortest first.

    Returns
    -------
    order : ndarray of int64, shape [m]
    gaps : ndarray of float64, shape [m - 1]
        Height at which leaf ``order[p]`` merges with ``order[p + 1]``.
    """
    m = len(heights) + 1
    parent, last = np.arange(m), np.arange(m)  # of the chain that starts at a root
    after, gap = np.full(m, -1), np.zeros(m)
    for e in range(m - 1):
        a, b = _root(parent, first[e]), _root(parent, second[e])
        parent[b] = a
        after[last[a]], gap[last[a]] = b, heights[e]
        last[a] = last[b]
    order, gaps = np.empty(m, np.int64), np.empty(m - 1)
    node = _root(parent, 0)
    for p in range(m):
        order[p] = node
        if p < m - 1:
            gaps[p] = gap[node]
        node = after[node]
    return order, gaps


@_jit
def have_length(points, first, second, lengths):
    """Whether the points of each pair lie exactly that far apart."""
    equal = np.empty(len(lengths), np.bool_)
    for e in range(len(lengths)):
        equal[e] = _distance(points[first[e]], points[second[e]]) == lengths[e]
    return equal


def visit_sparse(
    twin_of: NDArray, first: NDArray, second: NDArray, lengths: NDArray
) -> tuple[NDArray, NDArray]:
    """Prim's algorithm along given edges, in scipy's order.

    Starts at point 0 and always goes on to the point nearest to those visited;
    among equally near ones, to the first.

    Parameters
    ----------
    twin_of : ndarray of int64, shape [n]
        The first point that is equal to each.
    first, second : ndarray of int64
        Edges between such first points: all that some minimum spanning tree of
        theirs holds, in any order.
    lengths : ndarray of float64

    Returns
    -------
    order : ndarray of int64, shape [n]
        The points as visited.
    heights : ndarray of float64, shape [n - 1]
        Distance of ``order[k + 1]`` to the nearest of ``order[: k + 1]``.
    """
    n = len(twin_of)
    source = np.concatenate([first, second])
    by_source = np.argsort(source, kind="stable")
    target = np.concatenate([second, first])[by_source]
    lengths = np.concatenate([lengths, lengths])[by_source]
    starts = np.searchsorted(source[by_source], np.arange(n + 1))
    twins = np.argsort(twin_of, kind="stable")
    twin_starts = np.searchsorted(twin_of[twins], np.arange(n + 1))
    return _visit_sparse(twin_of, twins, twin_starts, target, lengths, starts)


@_jit
def _visit_sparse(twin_of, twins, twin_starts, target, lengths, starts):
    n = len(twin_of)
    order, heights = np.empty(n, np.int64), np.empty(n)
    visited, opened = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    heap = [(0.0, 0)]
    k = 0
    while k < n:
        height, i = heappop(heap)
        if visited[i]:
            continue
        visited[i] = True
        order[k], heights[k] = i, height
        k += 1
        group = twin_of[i]
        if opened[group]:
            continue
        opened[group] = True
        for t in range(twin_starts[group], twin_starts[group + 1]):
            heappush(heap, (0.0, twins[t]))
        for e in range(starts[group], starts[group + 1]):
            heappush(heap, (lengths[e], target[e]))
    return order, heights[1:]


@_jit
def visit_all(points):
    """Prim's algorithm as :func:`visit_sparse`, along all edges, without a matrix."""
    n = len(points)
    order, heights = np.zeros(n, np.int64), np.empty(n - 1)
    left = np.arange(1, n)  # not visited yet, in their order
    nearest = np.full(n, np.inf)
    for k in range(1, n):
        newest = points[order[k - 1]]
        chosen = 0
        for t in range(n - k):
            i = left[t]
            limit = nearest[i] * nearest[i]
            if _squared_distance(newest, points[i], limit) <= limit:
                nearest[i] = min(nearest[i], _distance(newest, points[i]))
            if nearest[i] < nearest[left[chosen]]:
                chosen = t
        order[k], heights[k - 1] = left[chosen], nearest[left[chosen]]
        left[chosen : n - k - 1] = left[chosen + 1 : n - k]
    return order, heights


@_jit
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
