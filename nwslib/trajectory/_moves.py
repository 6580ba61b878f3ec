"""Local search over orders: the compiled loops of seriation.

Kept apart so that only a call of it pays for importing numba.
:mod:`nwslib.trajectory.seriation` has the entry.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def insert(distances: NDArray, weights: NDArray, tolerance: float) -> NDArray[np.int64]:
    """Take out one snapshot after the other and put each back where it fits best.

    Until no such move raises the sum, over all pairs, of distance times the weight of
    how many places the two are apart. Each move raises it by more than ``tolerance``,
    so this ends.

    Parameters
    ----------
    distances : ndarray of float64, shape [n, n]
        Of snapshots in the order to start from.
    weights : ndarray of float64, shape [reach + 1]
        By places apart, not falling; the last one holds for all places beyond.

    Returns
    -------
    ndarray of int64, shape [n]
        The order found.
    """
    n, reach = len(distances), len(weights) - 1
    gap = weights - weights[reach]  # zero for pairs that are far apart
    rise = np.diff(weights)
    order = np.arange(n)
    rest = np.empty(n - 1, np.int64)
    value = np.empty(n)
    stale = np.ones(n, np.bool_)  # something nearby moved since it was tried
    while stale.any():
        for x in order.copy():
            if not stale[x]:
                continue
            stale[x] = False
            here = 0
            while order[here] != x:
                here += 1
            rest[:here], rest[here:] = order[:here], order[here + 1 :]
            # A pair with x between them is one place further apart.
            between = 0.0
            for t in range(n):  # x in front of the t-th of the others
                own = 0.0
                for s in range(max(0, t - reach), t):
                    own += distances[x, rest[s]] * gap[t - s]
                for s in range(t, min(n - 1, t + reach)):
                    own += distances[x, rest[s]] * gap[s - t + 1]
                value[t] = own + between
                if t == n - 1:
                    break
                y = rest[t]
                for s in range(t + 1, min(n - 1, t + reach)):
                    between += distances[y, rest[s]] * rise[s - t]
                for s in range(max(0, t - reach + 1), t):
                    between -= distances[y, rest[s]] * rise[t - s]
            there = value.argmax()
            if value[there] > value[here] + tolerance:
                order[:there], order[there + 1 :] = rest[:there], rest[there:]
                order[there] = x
                for t in (here, there):
                    stale[order[max(0, t - reach) : t + reach + 1]] = True
    return order


@_jit
def reverse(distances: NDArray, tolerance: float) -> NDArray[np.int64]:
    """Turn stretches of a path round while that shortens it (2-opt).

    Parameters
    ----------
    distances : ndarray of float64, shape [n, n]
        Of snapshots in the order to start from.

    Returns
    -------
    ndarray of int64, shape [n]
        The order found.
    """
    n = len(distances)
    order = np.arange(n)
    shorter = True
    while shorter:
        shorter = False
        for i in range(n - 1):
            for j in range(i + 1, n):
                saved = 0.0
                if i > 0:
                    before = order[i - 1]
                    saved += distances[before, order[i]] - distances[before, order[j]]
                if j < n - 1:
                    after = order[j + 1]
                    saved += distances[order[j], after] - distances[order[i], after]
                if saved > tolerance:
                    order[i : j + 1] = order[i : j + 1][::-1].copy()
                    shorter = True
    return order
