"""How unusual a value is for the series that it goes on.

A net's movement is compared with its own recent past: what is usual differs by orders
of magnitude between nets, optimizers and learning rates, and drifts while a net
trains. One rule, in batch (:func:`trailing_score`) and one value at a time
(:func:`robust_score`), for finished paths and for those that are watched live.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Median absolute deviation times this is the standard deviation of normal values.
_NORMAL = 1.4826


def robust_score(
    value: ArrayLike, past: ArrayLike, *, least: int, floor: float
) -> NDArray:
    """Distance of a value from the median of its past, in robust deviations.

    The modified z-score of Iglewicz & Hoaglin (1993, *How to detect and handle
    outliers*): median and median absolute deviation (MAD) in place of mean and
    standard deviation, so that an outlier in the past does not hide the next.

    Parameters
    ----------
    value : array_like, shape [...]
    past : array_like, shape [..., m]
        Values before it. Entries that are not finite count as missing.
    least : int
        With fewer past values than this there is no score.
    floor : float
        Least deviation, over 0, in the unit of the values: a past that hardly
        varied does not make every change an outlier.

    Returns
    -------
    ndarray, shape [...]
        (value - median) / max(1.4826 MAD, floor); NaN where undefined.
    """
    value, past = np.asarray(value, float), np.asarray(past, float)
    finite = np.isfinite(past)
    known = finite.sum(axis=-1) >= max(least, 1)
    if not known.any():  # nothing to take a median of
        return np.full(np.broadcast_shapes(value.shape, known.shape), np.nan)
    past = np.where(finite, past, np.nan)
    past = np.where(known[..., None], past, 0.0)  # all-NaN medians would warn
    median = np.nanmedian(past, axis=-1)
    mad = np.nanmedian(np.abs(past - median[..., None]), axis=-1)
    score = (value - median) / np.maximum(_NORMAL * mad, floor)
    return np.where(known, score, np.nan)


def trailing_score(
    series: ArrayLike, *, window: int, least: int, floor: float
) -> NDArray:
    """Score every value of a series against the ``window`` values before it.

    Parameters
    ----------
    series : array_like, shape [..., n]
        In order of time.
    window, least : int
    floor : float
        As in :func:`robust_score`.

    Returns
    -------
    ndarray, shape [..., n]
        Entry i is what ``robust_score`` gives for value i, known up to i; NaN while
        there are fewer than ``least`` values before it.
    """
    series = np.asarray(series, float)
    before = np.concatenate(
        [np.full((*series.shape[:-1], window), np.nan), series[..., :-1]], axis=-1
    )
    # [..., n, window]: row i ends with value i - 1
    past = np.lib.stride_tricks.sliding_window_view(before, window, axis=-1)
    return robust_score(series, past, least=least, floor=floor)
