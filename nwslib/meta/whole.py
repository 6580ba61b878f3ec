"""From answers about slices to one about the net: a vote, or an aggregation learned.

Eilertsen et al., "Classifying the classifier" (2020), section 6, leave it to the
future: "by aggregating information from the full weight vector using local DMCs".
Slices are taken at even places of a net. The vote gives each the same weight: the
mean of their log-probabilities, as for independent witnesses. The learned aggregation
is a logistic regression of the mean log-probabilities of a few regions, so that it may
trust some places of a net more than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwslib.meta import models
from nwslib.meta.dmc_classifier import AT_ONCE, DeepClassifier
from nwslib.meta.protocol import Classifier, Examples
from nwslib.meta.weight_store import WeightStore

#: Slices of a net that are asked, and regions that a learned aggregation tells apart.
N_SLICES, N_REGIONS = 32, 8
# No slice rules a class out for good.
_LEAST = 1e-4


def testimony(
    classifier: DeepClassifier,
    store: WeightStore,
    examples: Examples,
    n_slices: int = N_SLICES,
) -> NDArray:
    """What slices at even places of each net say.

    Parameters
    ----------
    classifier : DeepClassifier
        A local one.
    store : WeightStore
    examples : Examples
        Features are row numbers of the store.
    n_slices : int
        Slices of a row, from its first weights to its last.

    Returns
    -------
    ndarray of float64, shape [rows, n_slices, classes]
        Log-probabilities.
    """
    recipe, places = classifier.recipe, np.linspace(0, 1, n_slices)
    step, said = max(1, AT_ONCE // n_slices), []
    for first in range(0, len(examples), step):
        rows = examples.features[first : first + step]
        grid = store.grid(rows, places, recipe.size, recipe.part)
        probability = classifier.predict_proba(grid.reshape(-1, recipe.size))
        said.append(probability.reshape(len(rows), n_slices, -1))
    return np.log(np.maximum(np.concatenate(said), _LEAST))


def vote(said: NDArray) -> NDArray:
    """Number of the class that slices favour together.

    Parameters
    ----------
    said : ndarray, shape [rows, slices, classes]
        From :func:`testimony`.

    Returns
    -------
    ndarray of int, shape [rows]
    """
    return said.mean(axis=1).argmax(axis=1)


def regions(said: NDArray, n_regions: int = N_REGIONS) -> NDArray:
    """Mean log-probabilities of neighbouring slices.

    Parameters
    ----------
    said : ndarray, shape [rows, slices, classes]
    n_regions : int
        Slices are divided as evenly as can be.

    Returns
    -------
    ndarray, shape [rows, n_regions * classes]

    Raises
    ------
    ValueError
        If there are more regions than slices.
    """
    if not 1 <= n_regions <= said.shape[1]:
        raise ValueError(
            f"{n_regions} regions of {said.shape[1]} slices: give from one region to "
            "as many as there are slices."
        )
    parts = [part.mean(axis=1) for part in np.array_split(said, n_regions, axis=1)]
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class Jury:
    """A local DMC whose slices are put together by what was learned of them.

    Attributes
    ----------
    classifier : DeepClassifier
    judge : Classifier
        Of regions' mean log-probabilities.
    """

    classifier: DeepClassifier
    judge: Classifier

    def predict(self, store: WeightStore, examples: Examples) -> NDArray:
        """The class of each row of a store."""
        return self.judge.predict(regions(testimony(self.classifier, store, examples)))


def learn(
    classifier: DeepClassifier, store: WeightStore, held_out: Examples, seed: int = 0
) -> Jury:
    """Learn where in a net to trust a local DMC.

    Parameters
    ----------
    classifier : DeepClassifier
    store : WeightStore
    held_out : Examples
        Rows of nets that the DMC has **not** learned from: about its own training
        nets it is far too sure.
    seed : int

    Returns
    -------
    Jury

    Raises
    ------
    ValueError
        As :func:`nwslib.meta.models.logistic`, for example if a class has one net.
    """
    said = regions(testimony(classifier, store, held_out))
    heard = Examples(said, held_out.labels, held_out.runs)
    return Jury(classifier, models.logistic(heard, seed))
