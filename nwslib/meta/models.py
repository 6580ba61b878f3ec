"""Meta-classifiers beyond the paper's machines, on the same features.

The paper "also tried performing logistic regression on the features, but performance
was not better than random guessing" (Eilertsen et al. 2020, section 5.1).
:func:`logistic` repeats it, :func:`boosting` and :func:`forest` are trees, and
:func:`best_of` chooses among trainers by nets held out of the training nets: pick by
validation, report on test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nwslib.meta import svm, validation
from nwslib.meta.protocol import Classifier, Examples, Trainer

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline

#: Values of C that logistic regression chooses from, the most regular first.
LOGISTIC_C = (1e-3, 1e-2, 1e-1, 1.0, 1e1)
#: Trees of the forest.
N_TREES = 500
#: Rounds of boosting at most, and without gain until it stops.
MAX_ROUNDS, PATIENCE = 300, 15


def logistic(examples: Examples, seed: int = 0) -> Pipeline:
    """Fit a multinomial logistic regression of features scaled by rank.

    Parameters
    ----------
    examples : Examples
        Features [rows, k] of training nets, among which C is chosen.
    seed : int

    Returns
    -------
    Pipeline
        Steps ``scaling`` and ``model``, with ``predict_proba``.

    Raises
    ------
    ValueError
        If a feature is not finite, there is one class, or one net of a class.
    """
    validation.check(examples)
    # sklearn: only where it is used
    from sklearn.linear_model import LogisticRegression

    return validation.search(
        lambda rows: [svm.normal_scores(rows)],
        LogisticRegression(max_iter=2000),
        {"C": LOGISTIC_C},
        examples,
        seed,
    )


def boosting(examples: Examples, seed: int = 0) -> HistGradientBoostingClassifier:
    """Fit gradient-boosted trees, as many as serve held-out nets best.

    A fifth of the training nets is held out to say when to stop; then as many trees
    are fitted to all of them. Arguments and errors as :func:`logistic`.
    """
    validation.check(examples)
    from sklearn.ensemble import HistGradientBoostingClassifier

    settings = {
        "learning_rate": 0.1,
        "max_leaf_nodes": 8,
        "min_samples_leaf": 5,
        "max_features": 0.2,
        "random_state": seed,
    }
    train, held = (examples.where(r) for r in validation.folds(examples, seed)[0])
    stopped = HistGradientBoostingClassifier(
        **settings,
        max_iter=MAX_ROUNDS,
        early_stopping=True,
        n_iter_no_change=PATIENCE,
    ).fit(train.features, train.labels, X_val=held.features, y_val=held.labels)
    # a score a round, before the first one too
    best = int(np.argmax(stopped.validation_score_))
    return HistGradientBoostingClassifier(
        **settings, max_iter=max(best, 1), early_stopping=False
    ).fit(examples.features, examples.labels)


def forest(
    examples: Examples, seed: int = 0, n_trees: int | None = None
) -> ExtraTreesClassifier:
    """Fit extremely randomised trees (Geurts et al. 2006).

    They have nothing to choose and need no scaling; one net of a class is enough.
    :data:`N_TREES` unless told. Other arguments and errors as :func:`logistic`.
    """
    validation.check(examples)
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(
        n_trees or N_TREES, max_features=0.2, random_state=seed
    ).fit(examples.features, examples.labels)


def validated(
    trainers: Mapping[str, Trainer],
    examples: Examples,
    seed: int = 0,
    n_folds: int = 3,
    jobs: int = 1,
) -> dict[str, float]:
    """Mean accuracy of each trainer on nets held out of the training nets.

    Parameters
    ----------
    trainers : mapping of str to Trainer
        Each makes its own choices anew in every fold.
    examples : Examples
        Training nets.
    seed : int
    n_folds : int
    jobs : int
        Trainings at once, in processes of their own; -1 for as many as there are cores.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If there is no trainer; as :func:`nwslib.meta.validation.folds`.
    """
    if not trainers:
        raise ValueError("no trainer to choose from: name one at least.")
    from joblib import Parallel, delayed

    divided = [
        tuple(examples.where(rows) for rows in fold)
        for fold in validation.folds(examples, seed, n_folds)
    ]
    accuracies = Parallel(n_jobs=jobs)(
        delayed(_accuracy)(trainer, known, new, seed)
        for trainer in trainers.values()
        for known, new in divided
    )
    by_trainer = np.reshape(accuracies, (len(trainers), len(divided)))
    return dict(zip(trainers, by_trainer.mean(axis=1).tolist(), strict=True))


def _accuracy(trainer: Trainer, known: Examples, new: Examples, seed: int) -> float:
    return float(np.mean(trainer(known, seed).predict(new.features) == new.labels))


def best_of(trainers: Mapping[str, Trainer], n_folds: int = 3) -> Trainer:
    """Make a trainer of several: the one best on held-out nets, fitted to all.

    Of equally good ones the first named is taken. Arguments and errors as
    :func:`validated`.
    """

    def train(examples: Examples, seed: int = 0) -> Classifier:
        accuracy = validated(trainers, examples, seed, n_folds)
        return trainers[max(accuracy, key=accuracy.get)](examples, seed)

    return train
