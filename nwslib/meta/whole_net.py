"""A whole net's hyper-parameter, told from many of its slices.

Eilertsen et al., "Classifying the classifier" (2020), leave it to future work to
"combine" what a local meta-classifier says of many slices. Here the slices lie evenly
over the net, and either they vote, or a logistic regression learns how much to trust
each region. It learns from nets that the local classifier was not trained on: of its
training nets a classifier is surer than of any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.meta import validation
from nwslib.meta.dmc_classifier import AT_ONCE, DeepClassifier, Recipe
from nwslib.meta.dmc_many import Job, train_many
from nwslib.meta.models import LOGISTIC_C
from nwslib.meta.protocol import Examples
from nwslib.meta.weight_store import WeightStore

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

#: Slices of a net, and regions of which each is trusted more or less.
N_SLICES, N_REGIONS = 32, 8
#: Probabilities below count as this: no single slice has a veto.
LEAST = 1e-6


def slice_scores(
    classifier: DeepClassifier,
    store: WeightStore,
    rows: ArrayLike,
    n_slices: int = N_SLICES,
) -> NDArray:
    """What a local DMC says of slices that lie evenly over each net.

    Parameters
    ----------
    classifier : DeepClassifier
        Its recipe says how long slices are and in which part they lie.
    store : WeightStore
    rows : sequence of int
        Row numbers of the store.
    n_slices : int
        The first begins where the part begins, the last ends with it.

    Returns
    -------
    ndarray of float64, shape [rows, n_slices, classes]
        Logarithms of probabilities.

    Raises
    ------
    ValueError
        If ``n_slices`` is not positive, or a slice does not fit.
    """
    if n_slices < 1:
        raise ValueError(f"n_slices is {n_slices}: a net is told from one at least.")
    recipe, rows = classifier.recipe, np.asarray(rows)
    store.check(rows, recipe.size, recipe.part)
    positions = np.linspace(0, 1, n_slices)
    probability = []
    for some in np.array_split(rows, -(-len(rows) * n_slices // AT_ONCE)):
        if len(some):
            slices = store.grid(some, positions, recipe.size, recipe.part)
            probability.append(
                classifier.predict_proba(slices.reshape(-1, recipe.size))
            )
    scores = np.log(np.maximum(np.concatenate(probability), LEAST))
    return scores.reshape(len(rows), n_slices, -1)


def vote(scores: NDArray) -> NDArray:
    """Probability of each class if all slices count alike and are independent.

    Parameters
    ----------
    scores : ndarray, shape [rows, slices, classes]
        From :func:`slice_scores`.

    Returns
    -------
    ndarray, shape [rows, classes]
        The slices' geometric mean, made to sum to one.
    """
    mean = scores.mean(axis=1)
    share = np.exp(mean - mean.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Aggregator:
    """A learned whole from slices. Make one with :func:`aggregate`.

    Attributes
    ----------
    n_regions : int
    model : Pipeline
        Reads the regions' mean scores, [rows, regions * classes].
    """

    n_regions: int
    model: Pipeline

    @property
    def classes_(self) -> NDArray:
        """Sorted labels."""
        return self.model.classes_

    def predict_proba(self, scores: NDArray) -> NDArray:
        """Probability of each class, [rows, classes], from scores of slices."""
        return self.model.predict_proba(_by_region(scores, self.n_regions))

    def predict(self, scores: NDArray) -> NDArray:
        """The most probable class of each row of scores."""
        return self.model.predict(_by_region(scores, self.n_regions))


def aggregate(
    examples: Examples, n_regions: int = N_REGIONS, seed: int = 0
) -> Aggregator:
    """Learn how much each region's slices tell.

    Parameters
    ----------
    examples : Examples
        Features are scores [rows, slices, classes] of training nets, each by a
        classifier that was not trained on that net, as :func:`out_of_fold` makes
        them.
    n_regions : int
        Neighbouring slices are averaged to so many, as many as there are slices at
        most.
    seed : int

    Returns
    -------
    Aggregator
        A logistic regression, its penalty chosen by folds of whole nets.

    Raises
    ------
    ValueError
        If ``n_regions`` is not positive or scores have another shape; as
        :func:`nwslib.meta.models.logistic`.
    """
    if n_regions < 1:
        raise ValueError(f"n_regions is {n_regions}: give one at least.")
    if np.ndim(examples.features) != 3:
        raise ValueError(
            f"scores have shape {list(np.shape(examples.features))}: give "
            "[rows, slices, classes]."
        )
    regional = replace(examples, features=_by_region(examples.features, n_regions))
    validation.check(regional)
    # sklearn: only where it is used
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    model = validation.search(
        lambda rows: [StandardScaler()],
        LogisticRegression(max_iter=2000),
        {"C": LOGISTIC_C},
        regional,
        seed,
    )
    return Aggregator(n_regions, model)


def out_of_fold(
    store: WeightStore,
    examples: Examples,
    recipe: Recipe,
    seed: int = 0,
    *,
    n_folds: int = 3,
    n_slices: int = N_SLICES,
    workers: int | None = None,
    checkpoints: str | Path | None = None,
    progress: bool = False,
) -> Examples:
    """Scores of each training net by a DMC that was trained without it.

    Parameters
    ----------
    store : WeightStore
    examples : Examples
        Training rows of the store.
    recipe : Recipe
        Of each fold's DMC.
    seed : int
        Of folds and trainings.
    n_folds : int
        DMCs to train; fewer where a class has fewer nets.
    n_slices : int
        As for :func:`slice_scores`.
    workers : int, optional
    checkpoints : path, optional
    progress : bool
        As for :func:`nwslib.meta.dmc_many.train_many`.

    Returns
    -------
    scored : Examples
        The same rows, features [rows, n_slices, classes].

    Raises
    ------
    ValueError
        If a class has one net only; as ``train_many``.
    """
    divided = {
        f"fold-{k}": fold
        for k, fold in enumerate(validation.folds(examples, seed, n_folds))
    }
    jobs = [
        Job(name, examples.where(train), recipe, seed)
        for name, (train, _) in divided.items()
    ]
    scores = np.empty((len(examples), n_slices, len(np.unique(examples.labels))))
    options = {"workers": workers, "checkpoints": checkpoints, "progress": progress}
    for name, classifier in train_many(store, jobs, **options):
        held = divided[name][1]
        scores[held] = slice_scores(
            classifier, store, examples.features[held], n_slices
        )
    return replace(examples, features=scores)


def _by_region(scores: NDArray, n_regions: int) -> NDArray:
    """Mean scores of neighbouring slices, [rows, regions * classes]."""
    pieces = np.array_split(scores, min(n_regions, scores.shape[1]), axis=1)
    return np.concatenate([piece.mean(axis=1) for piece in pieces], axis=1)
