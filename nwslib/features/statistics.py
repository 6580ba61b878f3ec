"""Eight statistics of weights and of their differences, many nets at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: The eight statistics: mean, variance, skewness (Eq. 4) and five percentiles.
STATISTICS = ("mean", "var", "skew", "p1", "p25", "p50", "p75", "p99")
#: The 16 features: statistics of the weights, then of their gradient.
NAMES = (*STATISTICS, *(f"grad.{name}" for name in STATISTICS))

_QUANTILES = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
# Numbers worked on at once: more would leave the processor's cache.
_AT_ONCE = 2**16


def features(
    vectors: NDArray, size: int | None = None, kept: NDArray | None = None
) -> NDArray:
    """Features of the first ``size`` columns, and of all columns' differences.

    Parameters
    ----------
    vectors : ndarray, shape [n, k]
    size : int, optional
        ``k`` by default.
    kept : ndarray of int, optional
        Which of the differences count, all by default.

    Returns
    -------
    ndarray of float64, shape [n, 16]
    """
    # numba: only where it is used
    from nwslib.features._kernel import statistics

    n, k = vectors.shape
    found = np.zeros((n, len(NAMES)))
    step = max(1, _AT_ONCE // k)
    for row in range(0, n, step):
        x = vectors[row : row + step].astype(np.float64, order="C")  # [step, k]
        with np.errstate(invalid="ignore", over="ignore"):
            g = np.diff(x, axis=1)
        if kept is not None:
            g = g.take(kept, axis=1)  # in row-major order, unlike g[:, kept]
        half = found[row : row + step].reshape(len(x), 2, len(STATISTICS))
        statistics(np.ascontiguousarray(x[:, :size]), _QUANTILES, half[:, 0])
        if g.size:
            statistics(g, _QUANTILES, half[:, 1])
        half[np.isnan(half[:, 0, 0]), 1] = np.nan
    return found
