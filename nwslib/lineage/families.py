"""Which checkpoints of one architecture are related at all.

Two nets that were initialised apart point into unrelated directions of weight space,
however long they are trained; a net keeps much of its direction from one checkpoint
to the next. So relatives are told by the cosine of their weights, against what chance
gives, and linked like pearls on a string: single linkage.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.clustering import cut, single_linkage

#: Least cosine of relatives, in standard deviations of that of unrelated nets. In
#: the paper's zoos unrelated snapshots come to 5.1, and a net's first step, the
#: longest, to 7.2 and more.
_DEVIATIONS = 6.0
#: Least cosine of relatives in large nets, where chance gives next to nothing but
#: nets of one task may still have something in common (we met 0.03 at most).
_FLOOR = 0.1
#: Even tiny nets, where chance gives much, are related above this.
_CEILING = 0.8


def families(points: ArrayLike, shares: ArrayLike, sizes: ArrayLike) -> NDArray:
    """Group checkpoints of one architecture into families.

    Parameters
    ----------
    points : array_like, shape [n, k]
        Weights without the mean of each tensor, without tensors that are the same
        in all checkpoints; or a linear sketch of them.
    shares : array_like, shape [n, tensors]
        Each tensor's share in the sum of squares.
    sizes : array_like of int, shape [tensors]
        Number of weights of each tensor.

    Returns
    -------
    ndarray of int64, shape [n]
        Family of each checkpoint, numbered from 0 by first appearance. Checkpoints
        whose weights are all equal to their tensor's mean are related to none.
    """
    points = np.asarray(points, dtype=np.float32)
    n = len(points)
    lengths = np.sqrt(np.einsum("ij,ij->i", points, points, dtype=np.float64))
    pointed = np.flatnonzero(lengths > 0)
    out = np.arange(n)
    if len(pointed) > 1:
        units = points[pointed] / lengths[pointed, None].astype(np.float32)
        least = least_cosine(np.asarray(shares)[pointed], sizes)
        Z = single_linkage(units)
        apart = np.sqrt(2 - 2 * least)  # of two unit vectors with that cosine
        k = 1 + int((Z[:, 2] > apart).sum())
        out[pointed] = pointed[_firsts(cut(Z, k))]
    _, first, family = np.unique(out, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[family]


def least_cosine(shares: ArrayLike, sizes: ArrayLike) -> float:
    """Cosine from which two nets of one architecture count as related.

    The weights of unrelated nets agree in sign by chance, so that their cosine has
    mean 0 and, with equal weights within each tensor, variance sum_t s_t^2 / n_t:
    s_t a tensor's share in the sum of squares, n_t its size.

    Parameters
    ----------
    shares : array_like, shape [n, tensors]
    sizes : array_like, shape [tensors]
    """
    shares, sizes = np.asarray(shares), np.maximum(np.asarray(sizes), 1)
    deviation = np.sqrt((shares**2 / sizes).sum(axis=1))
    return float(np.clip(_DEVIATIONS * np.median(deviation), _FLOOR, _CEILING))


def _firsts(labels: NDArray) -> NDArray:
    """Index of the first point with each point's label."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first[inverse]
