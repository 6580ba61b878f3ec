"""Detectors that learn from other nets, and what any detector's scores are worth.

Scores are [models, steps], for the steps from a possible change on: the higher, the
more suspicious. A run counts by its highest score. Nets are kept apart throughout: no
net is judged by what was learned from itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.progress import Estimate, over_nets

#: (features [models, steps, features]) -> scores [models, steps].
Scorer = Callable[[NDArray], NDArray]


def reference(normal: NDArray) -> Scorer:
    """Score by distance from the steps of other nets on unchanged data.

    The Mahalanobis distance, with the covariance of Ledoit & Wolf (2004).

    Parameters
    ----------
    normal : ndarray, shape [models, steps, features]
    """
    # sklearn: only where it is used
    from sklearn.covariance import LedoitWolf
    from sklearn.preprocessing import StandardScaler

    flat = normal.reshape(-1, normal.shape[-1])
    scale = StandardScaler().fit(flat)
    cloud = LedoitWolf().fit(scale.transform(flat))
    return _flatly(lambda rows: np.sqrt(cloud.mahalanobis(scale.transform(rows))))


def learned(
    unchanged: Sequence[NDArray], changed: Sequence[NDArray], seed: int = 0
) -> Scorer:
    """Score by a classifier that has seen other nets meet changes.

    A random forest, classes weighed equally.

    Parameters
    ----------
    unchanged, changed : sequences of ndarray, shapes [models, steps, features]
    seed : int
    """
    # sklearn: only where it is used
    from sklearn.ensemble import RandomForestClassifier

    classes = [
        np.concatenate([case.reshape(-1, case.shape[-1]) for case in cases])
        for cases in (unchanged, changed)
    ]
    forest = RandomForestClassifier(
        50, min_samples_leaf=3, class_weight="balanced", random_state=seed
    )
    forest.fit(np.concatenate(classes), np.repeat([0, 1], [len(c) for c in classes]))
    return _flatly(lambda rows: forest.predict_proba(rows)[:, 1])


def _flatly(score: Callable[[NDArray], NDArray]) -> Scorer:
    """Apply a function of rows [n, features] to [models, steps, features]."""

    def apply(features: NDArray) -> NDArray:
        flat = features.reshape(-1, features.shape[-1])
        return score(flat).reshape(features.shape[:-1])

    return apply


def folds(n_models: int, n_folds: int = 5, seed: int = 0) -> NDArray:
    """Divide nets at random into groups of about one size: group numbers [models]."""
    numbers = np.arange(n_models) % n_folds
    return np.random.default_rng(seed).permutation(numbers)


def cross_fitted(
    fit: Callable[[NDArray], Scorer], cases: Mapping[str, NDArray], fold: NDArray
) -> dict[str, NDArray]:
    """Score every net by what was learned from the nets of other folds.

    Parameters
    ----------
    fit : callable
        (bool [models], which nets to learn from) -> scorer.
    cases : mapping of str to ndarray, shapes [models, steps, features]
    fold : ndarray of int, shape [models]

    Returns
    -------
    dict of str to ndarray, shapes [models, steps]
    """
    scores = {name: np.empty(case.shape[:-1]) for name, case in cases.items()}
    for part in np.unique(fold):
        scorer = fit(fold != part)
        for name, case in cases.items():
            scores[name][fold == part] = scorer(case[fold == part])
    return scores


def run_roc(changed: NDArray, unchanged: NDArray) -> tuple[NDArray, NDArray]:
    """Share of unchanged and of changed runs above every possible limit.

    Parameters
    ----------
    changed, unchanged : ndarray, shapes [models, steps]

    Returns
    -------
    false, true : ndarray
        Rising from 0 to 1.
    """
    # sklearn: only where it is used
    from sklearn.metrics import roc_curve

    highest = np.concatenate([unchanged.max(1), changed.max(1)])
    truth = np.repeat([0, 1], [len(unchanged), len(changed)])
    false, true, _ = roc_curve(truth, highest)
    return false, true


def run_auc(changed: NDArray, unchanged: NDArray) -> Estimate:
    """How well a run's highest score tells changed from unchanged data.

    Parameters
    ----------
    changed, unchanged : ndarray, shapes [models, steps]
        Scores of the same nets after a change and after none.

    Returns
    -------
    Estimate
        The area under the ROC curve, from 0 to 1, 0.5 being chance. Its interval is
        from a bootstrap over nets, which takes a net's two runs together.

    Raises
    ------
    ValueError
        If the two have different numbers of nets.
    """
    if len(changed) != len(unchanged):
        raise ValueError(
            f"{len(changed)} changed and {len(unchanged)} unchanged runs: pass one of "
            "each for every net."
        )
    a, b = changed.max(1)[:, None], unchanged.max(1)
    wins = (a > b) + 0.5 * (a == b)  # [models, models]
    models = len(wins)

    def area(nets: NDArray) -> NDArray:
        """Mean of the wins among drawn nets, [..., models] to [...]."""
        draws = nets.reshape(-1, models)
        own = draws + models * np.arange(len(draws))[:, None]
        times = np.bincount(own.ravel(), minlength=draws.size).reshape(draws.shape)
        return ((times @ wins * times).sum(1) / models**2).reshape(nets.shape[:-1])

    return over_nets(area, models)


def lowest_area(
    numbers: Mapping[str, Mapping], signal: str, changes: Iterable[str]
) -> float | None:
    """Lowest area under the ROC curve of a signal, over nets and changes.

    Parameters
    ----------
    numbers : mapping
        As in chapter 06's results file: kind of net -> ``"auc"`` -> change -> signal ->
        area and its interval, [3].
    signal : str
    changes : iterable of str

    Returns
    -------
    float or None
        None if no kind of net has one of the changes.
    """
    changes = list(changes)
    areas = [
        rows["auc"][change][signal][0]
        for rows in numbers.values()
        for change in changes
        if change in rows["auc"]
    ]
    return min(areas, default=None)


def limits(unchanged: NDArray, fold: NDArray, rate: float = 0.05) -> NDArray:
    """From where on to raise an alarm, so that few unchanged runs raise any.

    Parameters
    ----------
    unchanged : ndarray, shape [models, steps]
        Scores on unchanged data.
    fold : ndarray of int, shape [models]
    rate : float
        Share of runs that may raise a false alarm.

    Returns
    -------
    ndarray, shape [models]
        Each net's limit, from the runs of the nets in other folds.
    """
    run = unchanged.max(1)
    return np.array([np.quantile(run[fold != part], 1 - rate) for part in fold])


@dataclass(frozen=True)
class Alarms:
    """What a detector with a limit does.

    Attributes
    ----------
    share : float
        Of runs with an alarm: detections after a change, false alarms after none.
    delay : float
        Median number of checkpoints up to the first alarm, 1 at the first
        checkpoint after the change, over the runs with one; NaN without.
    """

    share: float
    delay: float


def alarms(scores: NDArray, limit: ArrayLike) -> Alarms:
    """Count the runs that raise an alarm, and how soon.

    Parameters
    ----------
    scores : ndarray, shape [models, steps]
    limit : float or array_like, shape [models]
    """
    above = scores > np.broadcast_to(np.asarray(limit), len(scores))[:, None]
    raised = above.any(1)
    delay = np.median(above.argmax(1)[raised] + 1) if raised.any() else np.nan
    return Alarms(float(raised.mean()), float(delay))
