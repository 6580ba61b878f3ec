"""Choosing on training nets alone: a meta-classifier's own folds and grids.

Whatever a trainer chooses, it chooses by nets held out of its training nets. Rows of
a net are on one side of every fold, as in :mod:`nwslib.meta.protocol`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwslib.meta.protocol import Examples

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.pipeline import Pipeline

#: Folds of a choice, fewer where a class has fewer nets.
N_FOLDS = 5

#: Rows that a choice is made on at most; the chosen model is fitted to all.
MAX_ROWS = 1000


def check(examples: Examples) -> None:
    """ValueError unless examples are finite features [rows, k] of two classes."""
    if examples.features.ndim != 2:
        raise ValueError(
            f"features have shape {list(examples.features.shape)}: pass [rows, k]."
        )
    classes = np.unique(examples.labels)
    if len(classes) < 2:
        raise ValueError(
            f"all {len(examples)} rows have one label: there is nothing to tell "
            "apart, pass nets of two classes at least."
        )
    finite = np.isfinite(examples.features).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{np.sum(~finite)} of {len(examples)} rows of features are not finite, "
            f"one of run {examples.runs[~finite][0]}: leave out nets that diverged."
        )


def folds(
    examples: Examples, seed: int = 0, n_folds: int = N_FOLDS
) -> list[tuple[NDArray, NDArray]]:
    """Divide the nets, each class evenly, so that every net is held out once.

    Nets have one label each, so they are divided themselves, stratified by label, and
    take their rows with them: every fold has every class to train and to test.

    Parameters
    ----------
    examples : Examples
    seed : int
    n_folds : int
        As many at most as the smallest class has nets.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        Rows to train with and rows held out, of each fold.

    Raises
    ------
    ValueError
        If a class has one net only, or a net two labels.
    """
    from sklearn.model_selection import StratifiedKFold

    runs, first, run_of = np.unique(
        examples.runs, return_index=True, return_inverse=True
    )
    labels = examples.labels[first]
    odd = np.flatnonzero(labels[run_of] != examples.labels)
    if len(odd):
        raise ValueError(
            f"rows of run {examples.runs[odd[0]]} have different labels: a net has "
            "one of each hyper-parameter."
        )
    classes, nets = np.unique(labels, return_counts=True)
    if nets.min() < 2:
        raise ValueError(
            f"one training net only is of class {classes[nets.argmin()]}: choosing "
            "on held-out nets needs two of each class, sample more."
        )
    divide = StratifiedKFold(min(n_folds, nets.min()), shuffle=True, random_state=seed)
    return [
        (
            np.flatnonzero(np.isin(run_of, train)),
            np.flatnonzero(np.isin(run_of, held)),
        )
        for train, held in divide.split(runs, labels)
    ]


def search(
    scalings: Callable[[int], Sequence[TransformerMixin]],
    model: BaseEstimator,
    grid: Mapping[str, Sequence[Any]],
    examples: Examples,
    seed: int,
) -> Pipeline:
    """Choose scaling and settings by the accuracy on held-out nets, then fit to all.

    The choice is scikit-learn's ``GridSearchCV`` over a pipeline, but a fold is
    scaled once and not anew for every setting: to rank hundreds of features takes
    longer than to fit a model to them. Of equally good ones the first is taken, so
    put what is simplest first.

    Parameters
    ----------
    scalings : callable
        Number of rows that they can count on, of the smallest fold -> transformers.
    model : scikit-learn classifier
    grid : mapping of str to sequence
        Values of the model's parameters.
    examples : Examples
        Training nets. Beyond :data:`MAX_ROWS` rows, rows drawn at random are
        searched on.
    seed : int

    Returns
    -------
    Pipeline
        Steps ``scaling`` and ``model``, fitted.
    """
    from sklearn.base import clone
    from sklearn.model_selection import ParameterGrid
    from sklearn.pipeline import Pipeline

    sample = examples
    if len(examples) > MAX_ROWS:
        drawn = np.random.default_rng(seed).permutation(len(examples))[:MAX_ROWS]
        sample = examples.where(np.sort(drawn))
    divided = folds(sample, seed)
    points = list(ParameterGrid(grid))
    rows = min(len(train) for train, _ in divided)
    candidates = scalings(rows)
    accuracy = np.zeros((len(candidates), len(points)))
    for train, held in divided:
        inside, outside = sample.where(train), sample.where(held)
        for i, scaling in enumerate(candidates):
            fitted = clone(scaling).fit(inside.features)
            known, new = map(fitted.transform, (inside.features, outside.features))
            for j, point in enumerate(points):
                trained = clone(model).set_params(**point).fit(known, inside.labels)
                accuracy[i, j] += trained.score(new, outside.labels)
    i, j = np.unravel_index(accuracy.argmax(), accuracy.shape)
    chosen = clone(model).set_params(**points[j])
    steps = [("scaling", clone(candidates[i])), ("model", chosen)]
    return Pipeline(steps).fit(examples.features, examples.labels)
