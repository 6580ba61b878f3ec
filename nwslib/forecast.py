"""Forecast accuracy from signals that need no test data, and stop training by one.

Everything is judged on nets that were not learned from: folds divide nets, never
the epochs of one net.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.progress import (
    QUANTITIES,
    Estimate,
    logged,
    mean_over_nets,
    over_nets,
)

MODELS = ("linear", "trees")


def features(
    traced: Mapping[str, Mapping[str, NDArray]],
    epochs: ArrayLike,
    quantities: Sequence[str] = QUANTITIES,
    parts: Sequence[str] | None = None,
) -> NDArray:
    """Lay traces out as features; lengths enter as logarithms.

    Parameters
    ----------
    traced : mapping
        As from :func:`nwslib.progress.traces`.
    epochs : array_like of int, shape [epochs]
        Snapshots to take.
    quantities, parts : sequence of str
        Which to take; all parts unless told.

    Returns
    -------
    ndarray, shape [nets, epochs, parts * quantities]
    """
    columns = [
        logged(quantity, traced[part][quantity])[:, epochs]
        for part in (traced if parts is None else parts)
        for quantity in quantities
    ]
    return np.stack(columns, axis=-1)


def fit(
    inputs: NDArray, targets: NDArray, epochs: ArrayLike, model: str = "trees"
) -> Callable[[NDArray], NDArray]:
    """Learn to forecast targets from features and the time.

    Parameters
    ----------
    inputs : ndarray, shape [nets, epochs, features]
    targets : ndarray, shape [nets, epochs, targets]
    epochs : array_like, shape [epochs]
        When; a model always knows the time.
    model : {"linear", "trees"}
        ``linear`` is a ridge regression of the targets' distance from their mean at
        the epoch; ``trees`` an extra-trees forest (Geurts et al. 2006).

    Returns
    -------
    callable
        inputs of other nets at the same epochs -> targets, shapes as above.

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, or the model is unknown.
    """
    inputs, targets = np.asarray(inputs, float), np.asarray(targets, float)
    if model not in MODELS:
        raise ValueError(f"unknown model '{model}': choose one of {list(MODELS)}.")
    if not inputs.shape[:2] == targets.shape[:2] == (len(inputs), len(epochs)):
        raise ValueError(
            f"inputs {list(inputs.shape)} and targets {list(targets.shape)} do not fit "
            f"{len(epochs)} epochs: pass [nets, epochs, ...] each."
        )
    if not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
        raise ValueError(
            "a feature or target is not finite: leave out epochs before all are "
            "defined, and nets that stood still or diverged."
        )
    learn = _fit_linear if model == "linear" else _fit_trees
    return learn(inputs, targets, np.asarray(epochs))


def _rows(values: NDArray) -> NDArray:
    """[nets, epochs, k] -> [nets * epochs, k]."""
    return values.reshape(-1, values.shape[-1])


def _fit_linear(
    inputs: NDArray, targets: NDArray, epochs: NDArray
) -> Callable[[NDArray], NDArray]:
    from sklearn.linear_model import Ridge

    centre, middle = inputs.mean(axis=0), targets.mean(axis=0)  # [epochs, k], [.., t]
    scale = (inputs - centre).std(axis=(0, 1))  # [k]
    scale = np.where(scale > 0, scale, 1)
    x, y = _rows((inputs - centre) / scale), _rows(targets - middle)
    # A tenth per row: rows of one net repeat each other, so a penalty chosen by
    # leaving out rows would be far too small.
    ridge = Ridge(alpha=0.1 * len(x), fit_intercept=False).fit(x, y)
    weights = ridge.coef_.reshape(y.shape[1], -1).T  # [k, t]
    return lambda new: middle + ((new - centre) / scale) @ weights


def _fit_trees(
    inputs: NDArray, targets: NDArray, epochs: NDArray
) -> Callable[[NDArray], NDArray]:
    from sklearn.ensemble import ExtraTreesRegressor

    def timed(values: NDArray) -> NDArray:
        time = np.broadcast_to(epochs[:, None], (*values.shape[:2], 1))
        return _rows(np.concatenate([values, time], axis=-1))

    kinds = targets.shape[-1]
    forest = ExtraTreesRegressor(
        30, min_samples_leaf=3, max_features=0.5, random_state=0
    ).fit(timed(inputs), _rows(targets) if kinds > 1 else targets.ravel())
    return lambda new: forest.predict(timed(new)).reshape(*new.shape[:2], kinds)


def forecast(
    inputs: NDArray,
    targets: NDArray,
    epochs: ArrayLike,
    model: str = "trees",
    folds: int = 5,
) -> NDArray:
    """Forecast every net by a model of the nets in other folds.

    Parameters are those of :func:`fit`; at most as many folds as nets.

    Returns
    -------
    ndarray, shape [nets, epochs, targets]
    """
    inputs, targets = np.asarray(inputs, float), np.asarray(targets, float)
    predicted = np.empty(targets.shape)
    for known, new in _folds(len(inputs), folds):
        predicted[new] = fit(inputs[known], targets[known], epochs, model)(inputs[new])
    return predicted


def _folds(nets: int, folds: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Nets to learn from and nets to try on, at random but always the same."""
    from sklearn.model_selection import KFold

    return KFold(min(folds, nets), shuffle=True, random_state=0).split(np.arange(nets))


def error(targets: NDArray, predicted: NDArray) -> Estimate:
    """Mean absolute error of a forecast, both [nets, epochs]."""
    return mean_over_nets(np.abs(targets - predicted).mean(axis=1))


def skill(targets: NDArray, predicted: NDArray, reference: NDArray) -> Estimate:
    """Share of a reference forecast's squared error that a forecast takes away.

    R2 with the reference in place of the constant mean: 1 is perfect, 0 no better
    than the reference, negative worse. All three are [nets, epochs].
    """
    ours, theirs = (
        ((targets - guess) ** 2).sum(axis=1) for guess in (predicted, reference)
    )

    def statistic(index: NDArray) -> NDArray:  # [..., nets]
        return 1 - ours[index].sum(axis=-1) / theirs[index].sum(axis=-1)

    return over_nets(statistic, len(ours))


def trailing_mean(values: NDArray, window: int) -> NDArray:
    """Mean of the last ``window`` epochs, [nets, epochs], NaN before."""
    seen = np.lib.stride_tricks.sliding_window_view(values, window, axis=1)
    return _after(seen.mean(axis=-1), values.shape)


def change(values: NDArray, window: int) -> NDArray:
    """Change over the last ``window`` epochs, [nets, epochs], NaN before."""
    return _after(values[:, window:] - values[:, :-window], values.shape)


def _after(late: NDArray, shape: tuple[int, int]) -> NDArray:
    out = np.full(shape, np.nan)
    out[:, shape[1] - late.shape[1] :] = late
    return out


def first_above(signal: NDArray, threshold: float) -> NDArray:
    """When each net stops: where its signal first passes a threshold.

    Parameters
    ----------
    signal : ndarray, shape [nets, epochs]
        NaN passes nothing.
    threshold : float

    Returns
    -------
    ndarray of int, shape [nets]
        Index of the epoch; the last one where it never does.
    """
    passed = signal > threshold
    return np.where(passed.any(axis=1), passed.argmax(axis=1), signal.shape[1] - 1)


def shortfall(accuracy: NDArray, stop: NDArray) -> NDArray:
    """Accuracy that nets give up by stopping, [nets], never negative.

    Compared is the last epoch's. A net that stops better than it would have ended
    does not make up for another that stops too soon.
    """
    stopped = np.take_along_axis(accuracy, stop[:, None], axis=1)[:, 0]
    return np.maximum(accuracy[:, -1] - stopped, 0)


def trade_off(signal: NDArray, accuracy: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Thresholds of a signal, and what each would save and cost these nets.

    Returns
    -------
    thresholds, saved, given_up : ndarray, shape [thresholds]
        At most 201 thresholds, and means over nets of the epochs left out and of the
        :func:`shortfall`.

    Raises
    ------
    ValueError
        If the signal is nowhere defined.
    """
    known = signal[np.isfinite(signal)]
    if not len(known):
        raise ValueError(
            "a signal that is nowhere defined stops nothing: give more epochs than "
            "its window."
        )
    thresholds = np.unique(np.quantile(known, np.linspace(0, 1, 201)))
    stops = [first_above(signal, threshold) for threshold in thresholds]
    last = signal.shape[1] - 1
    return (
        thresholds,
        np.array([(last - stop).mean() for stop in stops]),
        np.array([shortfall(accuracy, stop).mean() for stop in stops]),
    )


def calibrate(signal: NDArray, accuracy: NDArray, allowed: float) -> float:
    """Threshold that stops soonest while nets give up little.

    Parameters
    ----------
    signal, accuracy : ndarray, shape [nets, epochs]
    allowed : float
        Mean :func:`shortfall` that is put up with.

    Returns
    -------
    float
        Infinite where no threshold will do: then nothing stops.
    """
    thresholds, saved, given_up = trade_off(signal, accuracy)
    good = given_up <= allowed
    return float(thresholds[good][saved[good].argmax()]) if good.any() else np.inf


def stop_early(
    signal: NDArray, accuracy: NDArray, allowed: float, folds: int = 5
) -> NDArray:
    """Stop every net by a threshold that nets in other folds calibrated.

    Parameters are those of :func:`calibrate`; returns as :func:`first_above`.
    """
    stop = np.empty(len(signal), dtype=int)
    for known, new in _folds(len(signal), folds):
        threshold = calibrate(signal[known], accuracy[known], allowed)
        stop[new] = first_above(signal[new], threshold)
    return stop
