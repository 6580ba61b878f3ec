"""Euclidean distances between checkpoints, from what is kept of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLUMNS = 4096  # taken to float64 at once
_ROUNDING = 1e-14  # squares below this share of the points' own are no distance


def distances(rows: NDArray, columns: NDArray | None = None) -> NDArray[np.float64]:
    """Distances between all points of one set and all of another, or of itself.

    Sums are formed in float64 about the mean of all points, so that steps a millionth
    as long as the weights are still measured.

    Parameters
    ----------
    rows : ndarray, shape [n, d]
    columns : ndarray, shape [m, d], optional
        The same points without.

    Returns
    -------
    ndarray, shape [n, m]
    """
    d = rows.shape[1]
    others = rows if columns is None else columns
    products = np.zeros((len(rows), len(others)))
    mine, theirs = np.zeros(len(rows)), np.zeros(len(others))
    for start in range(0, d, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        middle = rows[:, part].mean(axis=0, dtype=np.float64)
        a = rows[:, part] - middle
        b = a if columns is None else columns[:, part] - middle
        products += a @ b.T
        mine += np.einsum("ij,ij->i", a, a)
        theirs += np.einsum("ij,ij->i", b, b)
    squares = mine[:, None] + theirs - 2 * products
    if columns is None:
        squares = (squares + squares.T) / 2
    squares[squares < _ROUNDING * (mine[:, None] + theirs)] = 0
    return np.sqrt(squares)
