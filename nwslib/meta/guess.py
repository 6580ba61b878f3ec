"""Ask a net how it was trained: every hyper-parameter, with calibrated probabilities.

:func:`fit` learns from zoos; :meth:`Guesser.guess` judges a ``state_dict``, and
``python -m nwslib guess CHECKPOINT`` a file. A net of another architecture, or with
weights unlike those of the nets learned from, or never trained, gets no guess
(:mod:`~nwslib.meta.family`, :mod:`~nwslib.meta.unusual`).
:mod:`~nwslib.meta.guesser_file` keeps a guesser on disk.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nwslib import _bars
from nwslib.features import layerwise, of_zoo
from nwslib.meta import family, unusual
from nwslib.meta.answer import Answer
from nwslib.nws.conv_map import KINDS
from nwslib.nws.table import successful

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import TransformerMixin
    from sklearn.pipeline import Pipeline

    from nwslib.meta.calibration import Calibrated
    from nwslib.meta.protocol import Examples, Trainer
    from nwslib.zoo import Zoo

#: What is guessed (Fig. 2 of "Classifying the classifier").
HYPERPARAMETERS = (
    "dataset", "batch_size", "augmentation", "optimizer", "activation", "init",
)  # fmt: skip

#: The last snapshots of each net are learned from, as many as the paper's global deep
#: meta-classifiers are trained with.
_SNAPSHOTS = 4
# The 1st and 99th percentile as normal scores: what lies beyond counts as these. Else a
# value just outside of all known ones would weigh more than twice as much.
_MOST = 2.33
# Of the trainer used by default: folds, numbers of features and C to choose from.
_FOLDS, _SELECTED, _C = 3, (30, 100, 480), (0.01, 0.1, 1.0)
_KIND_NAMES = {
    "weight": "weights",
    "bias": "biases",
    "beta": "batch norm offsets",
    "gamma": "batch norm factors",
    "mean": "batch norm means",
    "var": "batch norm variances",
}


@dataclass(frozen=True, eq=False)
class Guesser:
    """What has been learned about nets of the family.

    Attributes
    ----------
    scaling : scikit-learn transformer
        Of the 480 layer-wise features.
    classifiers : dict of str to scikit-learn classifier
        By hyper-parameter; of scaled features, with ``classes_`` and
        ``predict_proba``.
    judged : dict of str to dict
        By hyper-parameter, measured on nets held out in turn: ``accuracy``,
        ``calibration_error``, ``commonest``; see
        :meth:`nwslib.meta.answer.Answer.to_json`.
    usual : Range
    n_nets : int
        Learned from.
    """

    scaling: TransformerMixin
    classifiers: dict[str, Calibrated]
    judged: dict[str, dict[str, float]]
    usual: unusual.Range
    n_nets: int

    def probabilities(self, features: NDArray) -> dict[str, NDArray]:
        """Guess for many nets at once, however unusual they are.

        Parameters
        ----------
        features : ndarray, shape [n, 480]
            Of :func:`nwslib.features.layerwise`.

        Returns
        -------
        dict of str to ndarray, shapes [n, categories]
            By hyper-parameter; columns as ``classifiers[name].classes_``.
        """
        scaled = _scaled(self.scaling, features)
        return {
            name: each.predict_proba(scaled) for name, each in self.classifiers.items()
        }

    def guess(self, state: Mapping[str, Tensor]) -> Answer:
        """Judge one net.

        Parameters
        ----------
        state : mapping of str to Tensor
            Its ``state_dict``.
        """
        try:
            architecture, state = family.recognise(state)
        except family.NotOfTheFamily as difference:
            return Answer(reason=f"{difference}.")
        layout = architecture.layout
        vector = layout.flatten(state).numpy()  # [d]
        features = layerwise(vector[None], layout)  # [1, 480]
        (shares,) = self.usual.shares(features)  # [6]
        seen = {
            "architecture": architecture.name,
            "score": float(shares.max()),
            "limit": self.usual.limit,
        }
        odd = _KIND_NAMES[KINDS[int(shares.argmax())]]
        if not np.isfinite(features).all():
            reason = "it holds values that are not finite, or too large for statistics."
            return Answer(reason=reason, **seen)
        if unusual.untrained(vector, layout):
            reason = (
                "it was never trained: all batch norm factors are 1 and all offsets 0, "
                "as before the first step."
            )
            return Answer(reason=reason, **seen)
        if seen["score"] > self.usual.limit:
            reason = (
                f"of the statistics of its {odd}, {shares.max():.1%} lie outside the "
                f"range of the {self.n_nets} nets that I learned from (limit "
                f"{self.usual.limit:.1%})."
            )
            return Answer(reason=reason, **seen)
        found = {}
        for name, (row,) in self.probabilities(features).items():
            categories = self.classifiers[name].classes_.tolist()
            likeliest = np.argsort(-row, kind="stable")
            found[name] = {categories[k]: float(row[k]) for k in likeliest}
        return Answer(probabilities=found, **seen)


def fit(
    zoos: Sequence[Zoo],
    train: Trainer | None = None,
    seed: int = 0,
    progress: bool = False,
    thresholds: Mapping[str, float] | None = None,
) -> Guesser:
    """Learn from all nets of some zoos that learned something.

    How good the guesses are is measured by learning anew without a third of the nets,
    three times.

    Parameters
    ----------
    zoos : sequence of Zoo
        Of nets of the family, as :func:`nwslib.nws.sample` makes them; of their
        snapshots the last four count.
    train : Trainer, optional
        Gets features already scaled by rank; its classifiers give probabilities.
        :func:`compact`, calibrated, by default.
    seed : int
    progress : bool
        Show a bar.
    thresholds : mapping of str to float, optional
        As :func:`nwslib.nws.table.successful` takes them.

    Raises
    ------
    ValueError
        If there are too few nets, or none of two categories of a hyper-parameter.
    """
    # sklearn, pandas: only where they are used
    from nwslib.meta import calibration, svm, validation
    from nwslib.meta.protocol import labelled

    train = train or calibration.calibrated(compact, _FOLDS)
    features, index, runs = _examples(zoos, thresholds)
    ids = index["run"].to_numpy()
    scaling = svm.normal_scores(len(features)).fit(features)
    scaled = _scaled(scaling, features)
    classifiers, judged = {}, {}
    with _bars.bar(len(HYPERPARAMETERS), "hyper-parameter", progress) as bar:
        for name in HYPERPARAMETERS:
            examples = labelled(scaled, index, runs, name)
            classifiers[name] = train(examples, seed)
            classes = classifiers[name].classes_
            told = np.zeros((len(examples), len(classes)))
            for known, held in validation.folds(examples, seed, _FOLDS):
                own = svm.normal_scores(len(known)).fit(features[known])
                inside, outside = (
                    _scaled(own, features[rows]) for rows in (known, held)
                )
                part = labelled(inside, index.iloc[known], runs, name)
                told[held] = train(part, seed).predict_proba(outside)
            scores = calibration.scores(told, examples.labels, classes)
            _, counts = np.unique(examples.labels, return_counts=True)
            judged[name] = {
                "accuracy": scores["accuracy"],
                "calibration_error": scores["calibration_error"],
                "commonest": float(counts.max() / len(examples)),
            }
            bar.update()
    return Guesser(
        scaling, classifiers, judged, unusual.Range.of(features, ids, seed), len(runs)
    )


def compact(examples: Examples, seed: int = 0) -> Pipeline:
    """Fit a multinomial logistic regression of the features that tell most.

    How many (by the F test) and C are chosen by log loss on held-out training nets. A
    trainer, as those of :mod:`nwslib.meta.models`, of classifiers that take a few
    kilobytes; the features are taken as they are scaled.
    """
    from sklearn.feature_selection import SelectKBest
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline

    from nwslib.meta import validation

    validation.check(examples)
    sample = examples
    if len(examples) > validation.MAX_ROWS:
        drawn = np.random.default_rng(seed).permutation(len(examples))
        sample = examples.where(np.sort(drawn[: validation.MAX_ROWS]))
    choice = GridSearchCV(
        Pipeline(
            [("selection", SelectKBest()), ("model", LogisticRegression(max_iter=2000))]
        ),
        {"selection__k": _SELECTED, "model__C": _C},
        scoring="neg_log_loss",
        cv=validation.folds(sample, seed, _FOLDS),
        refit=False,
    )
    with warnings.catch_warnings():  # of constant features, which are not selected
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.filterwarnings("ignore", "Features .* are constant", UserWarning)
        choice.fit(sample.features, sample.labels)
        chosen = choice.estimator.set_params(**choice.best_params_)
        return chosen.fit(examples.features, examples.labels)


def _scaled(scaling: TransformerMixin, features: NDArray) -> NDArray:
    return np.clip(scaling.transform(features), -_MOST, _MOST)


def _examples(
    zoos: Sequence[Zoo], thresholds: Mapping[str, float] | None
) -> tuple[NDArray, pd.DataFrame, pd.DataFrame]:
    """Features [rows, 480], their index and nets of all zoos, numbered through."""
    import pandas as pd

    values, indices, tables, n_before = [], [], [], 0
    for zoo in zoos:
        runs = successful(zoo.runs, thresholds)
        if len(runs):
            ids, ends = runs["run"].tolist(), zoo.snapshots[-_SNAPSHOTS:]
            table = of_zoo(zoo, runs=ids, snapshots=ends)
            values.append(table.values)
            indices.append(table.index.assign(run=table.index["run"] + n_before))
            tables.append(runs.assign(run=runs["run"] + n_before))
        n_before += int(zoo.runs["run"].max()) + 1
    if sum(map(len, tables)) < 2:
        raise ValueError(
            "fewer than two nets of these zoos learned something: sample more of them."
        )
    features, index = np.concatenate(values), pd.concat(indices, ignore_index=True)
    finite = np.isfinite(features).all(axis=1)
    return features[finite], index[finite], pd.concat(tables, ignore_index=True)
