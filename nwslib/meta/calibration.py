"""Probabilities that mean what they say, and how far they are from it.

A class predicted with probability 0.8 should be right for 8 of 10 nets. Support vector
machines give distances and trees give votes; :func:`calibrated` turns either into
probabilities by what they gave to nets held out of the training nets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from nwslib.meta import validation
from nwslib.meta.protocol import Classifier, Examples, Trainer

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# Probabilities below count as this: hundreds of nets cannot tell them from zero.
_LEAST = 1e-4


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A classifier with calibrated probabilities.

    Attributes
    ----------
    classifier : Classifier
        Fitted, with ``decision_function`` or ``predict_proba``.
    calibration : LogisticRegression
        From its scores [rows, classes] to probabilities.
    """

    classifier: Classifier
    calibration: LogisticRegression

    @property
    def classes_(self) -> NDArray:
        """Classes in the order of the probabilities."""
        return self.calibration.classes_

    def predict_proba(self, features: NDArray) -> NDArray:
        """Probability of each class, [rows, classes], for features [rows, ...]."""
        return self.calibration.predict_proba(_scores(self.classifier, features))

    def predict(self, features: NDArray) -> NDArray:
        """The most probable class of each row."""
        return self.calibration.predict(_scores(self.classifier, features))


def calibrated(train: Trainer, n_folds: int = validation.N_FOLDS) -> Trainer:
    """Make a trainer whose classifiers give calibrated probabilities.

    A multinomial logistic regression of a classifier's scores: Platt's sigmoid
    ("Probabilistic outputs for support vector machines", 1999) for all classes at
    once. It is fitted to the scores of training nets that the trainer was not shown,
    fold by fold, and then belongs to the classifier trained with all of them.

    scikit-learn's ``CalibratedClassifierCV`` does the like for its own classifiers,
    a sigmoid a class or one temperature for all. Here trainers choose anew in every
    fold, keep nets apart, and may give classifiers of another kind.

    Parameters
    ----------
    train : Trainer
        Of classifiers with ``decision_function`` or ``predict_proba``; called once
        more than there are folds.
    n_folds : int

    Returns
    -------
    Trainer
        Of :class:`Calibrated`. It raises what ``train`` and
        :func:`nwslib.meta.validation.folds` do, and ValueError if a classifier gives
        neither scores nor probabilities.
    """

    def train_calibrated(examples: Examples, seed: int = 0) -> Calibrated:
        # sklearn: only where it is used
        from sklearn.linear_model import LogisticRegression

        divided = validation.folds(examples, seed, n_folds)
        scores = np.empty((len(examples), len(np.unique(examples.labels))))
        for known, held in divided:
            fitted = train(examples.where(known), seed)
            scores[held] = _scores(fitted, examples.features[held])
        calibration = LogisticRegression(max_iter=5000).fit(scores, examples.labels)
        return Calibrated(train(examples, seed), calibration)

    return train_calibrated


def reliability(
    probabilities: NDArray, labels: ArrayLike, classes: Sequence, bins: int = 10
) -> pd.DataFrame:
    """How often predictions of a confidence are right.

    Parameters
    ----------
    probabilities : ndarray, shape [rows, classes]
    labels : array_like, shape [rows]
        The truth.
    classes : sequence
        What the columns of probabilities stand for, ``classifier.classes_``.
    bins : int
        Of equal width, from 0 to 1.

    Returns
    -------
    DataFrame
        A row a bin with ``low``, ``high`` (its ends, the upper one included),
        ``confidence`` (mean highest probability), ``accuracy`` and ``count``; the
        means of an empty bin are NaN.

    Raises
    ------
    ValueError
        If rows are no probabilities of the classes, or a label is none of them.
    """
    numbers = _numbers(probabilities, labels, classes)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == numbers
    ends = np.linspace(0, 1, bins + 1)
    # right: a bin holds its upper end, so that a confidence of 1 is in the last
    place = np.clip(np.digitize(confidence, ends, right=True) - 1, 0, bins - 1)
    means = (
        pd.DataFrame({"confidence": confidence, "accuracy": right.astype(float)})
        .groupby(place)
        .mean()
        .reindex(range(bins))
    )
    return pd.DataFrame(
        {
            "low": ends[:-1],
            "high": ends[1:],
            **means,
            "count": np.bincount(place, minlength=bins),
        }
    )


def expected_calibration_error(
    probabilities: NDArray, labels: ArrayLike, classes: Sequence, bins: int = 10
) -> float:
    """Mean distance of confidence from accuracy over bins (Guo et al. 2017, Eq. 3).

    Bins count by their rows; arguments and errors are those of :func:`reliability`.
    With few rows a bin, even perfect probabilities are some way from zero.
    """
    table = reliability(probabilities, labels, classes, bins)
    gaps = (table["confidence"] - table["accuracy"]).abs().fillna(0)
    return float((gaps * table["count"]).sum() / table["count"].sum())


def scores(
    probabilities: NDArray, labels: ArrayLike, classes: Sequence
) -> dict[str, float]:
    """Judge probabilities; arguments and errors as :func:`reliability`.

    Returns
    -------
    dict
        ``accuracy``; ``log_loss`` (nats, log of the number of classes if all are
        equally likely); ``brier`` (squared distance from the truth summed over
        classes, 0 to 2); ``calibration_error``.
    """
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

    numbers = _numbers(probabilities, labels, classes)
    every = np.arange(len(classes))
    return {
        "accuracy": float(accuracy_score(numbers, probabilities.argmax(axis=1))),
        "log_loss": float(log_loss(numbers, probabilities, labels=every)),
        "brier": float(
            brier_score_loss(numbers, probabilities, labels=every, scale_by_half=False)
        ),
        "calibration_error": expected_calibration_error(probabilities, labels, classes),
    }


def _scores(classifier: Classifier, features: NDArray) -> NDArray:
    """Scores of rows, [rows, classes], or logarithms of their probabilities."""
    if hasattr(classifier, "decision_function"):
        scores = classifier.decision_function(features)
        # of two classes only the second has a score
        return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
    if hasattr(classifier, "predict_proba"):
        return np.log(np.maximum(classifier.predict_proba(features), _LEAST))
    raise ValueError(
        f"{type(classifier).__name__} gives no scores or probabilities: calibrate a "
        "classifier with decision_function or predict_proba."
    )


def _numbers(probabilities: NDArray, labels: ArrayLike, classes: Sequence) -> NDArray:
    """Places of labels among classes; ValueError unless all fit together."""
    labels, classes = np.asarray(labels), np.asarray(classes)
    if probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"probabilities of shape {list(probabilities.shape)} for {len(labels)} "
            f"labels and {len(classes)} classes: pass [rows, classes]."
        )
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1):
        raise ValueError(
            "a row of probabilities is negative or does not sum to one: pass what "
            "predict_proba returns."
        )
    match = labels[:, None] == classes  # [rows, classes]
    if not match.any(axis=1).all():
        stranger = labels[~match.any(axis=1)][0]
        raise ValueError(
            f"label {stranger} is none of the classes {classes.tolist()}: judge nets "
            "of the classes trained with."
        )
    return match.argmax(axis=1)
