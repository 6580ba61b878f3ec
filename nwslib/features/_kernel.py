"""The compiled loops of :mod:`nwslib.features.statistics`.

Kept apart so that only a call of it pays for importing numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Reordering the last bits of a sum is fine, assuming away NaN and infinity is not.
_jit = njit(fastmath={"reassoc", "nsz"}, nogil=True, cache=True, error_model="numpy")

# Of more values than these not all are sorted. They are counted in bins by the leading
# bits of a float32: sign, exponent and four of the fraction.
_FEW, _DROPPED = 1024, np.int32(19)
_BINS = 1 << 13


@_jit
def statistics(x: NDArray, quantiles: NDArray, found: NDArray) -> None:
    """Write mean, variance, skewness and percentiles of each row.

    Parameters
    ----------
    x : ndarray of float64, shape [n, k]
        Of at least one value a row.
    quantiles : ndarray of float64, shape [q]
        Percentiles as shares; the middle one is the median.
    found : ndarray of float64, shape [n, 3 + q]
        NaN where a value of the row is not finite.
    """
    q = len(quantiles)
    for row in range(len(x)):
        values, into = x[row], found[row]
        total, odd = 0.0, 0
        for value in values:
            total += value
            odd += not abs(value) < np.inf
        if odd:
            into[:] = np.nan
            continue
        _percentiles(values, total / len(values), quantiles, into[3:])
        # About the median, no further from the mean than a deviation: so the moments
        # lose nothing to cancellation, and those of a constant are exactly 0.
        median = into[3 + q // 2]
        first = second = third = 0.0
        for value in values:
            d = value - median
            first += d
            second += d * d
            third += d * d * d
        first /= len(values)
        second /= len(values)
        third /= len(values)
        var = second - first**2
        if var < 0:  # not max, which could drop a NaN
            var = 0.0
        moment, scale = third - 3 * first * second + 2 * first**3, var**1.5
        into[0], into[1] = median + first, var
        into[2] = moment / scale if scale > 0 else 0.0


@_jit
def _percentiles(x, centre, quantiles, into):
    """Percentiles of x [k], linear between its sorted values, into [q].

    Of many values only those are sorted whose bin holds one that is needed. Bins are
    of the distance from a centre: weights near 0.1 all have the same leading bits.
    """
    k, q = len(x), len(quantiles)
    ranks = np.empty(2 * q, np.int64)  # of the values on either side, rising
    for j in range(q):
        ranks[2 * j] = int(quantiles[j] * (k - 1))
        ranks[2 * j + 1] = min(ranks[2 * j] + 1, k - 1)
    places = ranks.copy()  # among the values that are sorted
    some = np.empty(k)
    if k <= _FEW:
        some[:] = x
    else:
        rounded = np.empty(k, np.float32)
        for i in range(k):
            rounded[i] = x[i] - centre
        bins = rounded.view(np.int32)
        for i in range(k):
            # The bits of negative numbers fall as the numbers rise.
            sign = bins[i] >> np.int32(31)
            bins[i] = (bins[i] ^ (sign & np.int32(0x7FFFFFFF))) >> _DROPPED
            bins[i] += np.int32(_BINS // 2)
        counts = np.zeros(_BINS, np.int64)
        for i in range(k):
            counts[bins[i]] += 1
        wanted = np.zeros(_BINS, np.bool_)
        j = below = left_out = 0
        for b in range(_BINS):
            below += counts[b]
            if j == 2 * q or ranks[j] >= below:
                left_out += counts[b]
                continue
            wanted[b] = True
            while j < 2 * q and ranks[j] < below:
                places[j] -= left_out
                j += 1
        filled = 0
        for i in range(k):
            if wanted[bins[i]]:
                some[filled] = x[i]
                filled += 1
        some = some[:filled]
    some.sort()
    for j in range(q):
        lower, upper = some[places[2 * j]], some[places[2 * j + 1]]
        into[j] = lower + (quantiles[j] * (k - 1) - ranks[2 * j]) * (upper - lower)
