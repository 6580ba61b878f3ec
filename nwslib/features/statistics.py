"""Eight statistics of weights and of their differences, many nets at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: The eight statistics: mean, variance, skewness (Eq. 4) and five percentiles.
STATISTICS = ("mean", "var", "skew", "p1", "p25", "p50", "p75", "p99")
#: The 16 features: statistics of the weights, then of their gradient.
NAMES = (*STATISTICS, *(f"grad.{name}" for name in STATISTICS))

_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
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
    n, k = vectors.shape
    found = np.empty((n, len(NAMES)))
    step = max(1, _AT_ONCE // k)
    for row in range(0, n, step):
        given = vectors[row : row + step]  # [step, k]
        x = given.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            g = np.diff(x, axis=1)
            if kept is not None:
                g = g.take(kept, axis=1)  # in row-major order, unlike g[:, kept]
            # Sorted in their own type, which is exact and much faster in float32.
            of_weights = _statistics(x[:, :size], np.sort(given[:, :size], axis=1))
            of_gradient = _statistics(g, np.sort(g, axis=1))
        of_gradient[np.isnan(of_weights[:, 0])] = np.nan
        found[row : row + step] = np.concatenate([of_weights, of_gradient], axis=1)
    return found


def _statistics(x: NDArray, ordered: NDArray) -> NDArray:
    """[n, k] values, overwritten, and the same sorted -> [n, 8] statistics.

    NaN where a value is not finite, 0 where there is none.
    """
    n, k = x.shape
    found = np.zeros((n, len(STATISTICS)))
    if not k:
        return found
    places = np.multiply(_QUANTILES, k - 1)
    low = places.astype(int)
    lower = ordered[:, low].astype(np.float64)  # [n, 5]
    upper = ordered[:, np.minimum(low + 1, k - 1)].astype(np.float64)
    found[:, 3:] = lower + (places - low) * (upper - lower)
    # About the median, no further from the mean than a deviation: so the moments
    # lose nothing to cancellation, and those of a constant are exactly 0.
    median = found[:, STATISTICS.index("p50")]
    x -= median[:, None]
    powers = x * x
    first, second = x.mean(axis=1), powers.mean(axis=1)
    powers *= x
    third = powers.mean(axis=1)
    var = np.maximum(second - first**2, 0)
    found[:, 0], found[:, 1] = median + first, var
    moment, scale = third - 3 * first * second + 2 * first**3, var**1.5
    np.divide(moment, scale, out=found[:, 2], where=scale > 0)
    # The least and the largest are at the ends; NaN is last.
    found[~np.isfinite(ordered[:, [0, -1]]).all(axis=1)] = np.nan
    return found
