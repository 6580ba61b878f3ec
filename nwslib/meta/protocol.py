"""How meta-classifiers are trained and judged: nets apart, classes equal, in rounds.

Eilertsen et al., "Classifying the classifier" (2020), section 5.1, supplements C, E:
only nets that learned something count (:func:`nwslib.nws.table.successful`), of every
class equally many, and results are means over ten rounds. The authors' code divides
*snapshots* into training and test set, so that a test snapshot may have siblings of
the same net in training. Here whole nets are divided; :func:`by_snapshot` is there to
show what difference that makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

#: The rounds of the paper.
N_ROUNDS = 10


class Classifier(Protocol):
    """A fitted meta-classifier, as scikit-learn has them."""

    def predict(self, features: NDArray) -> NDArray:
        """Return a label [rows] for each row of features [rows, ...]."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What a meta-classifier learns from, or is tested with.

    Attributes
    ----------
    features : ndarray, shape [rows, ...]
        Of a snapshot, or of a part of one.
    labels : ndarray, shape [rows]
        A hyper-parameter of the snapshot's net.
    runs : ndarray of int, shape [rows]
        Which net it is of; rows of a net are never divided.
    """

    features: NDArray
    labels: NDArray
    runs: NDArray

    def __post_init__(self) -> None:
        rows = {len(self.features), len(self.labels), len(self.runs)}
        if len(rows) > 1:
            raise ValueError(
                f"{len(self.features)} rows of features, {len(self.labels)} labels "
                f"and {len(self.runs)} run ids: give as many of each."
            )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.runs)

    def of(self, runs: ArrayLike) -> Examples:
        """Rows of the given nets."""
        return self.where(np.isin(self.runs, runs))

    def where(self, rows: NDArray) -> Examples:
        """Rows that a mask or an index picks."""
        return Examples(self.features[rows], self.labels[rows], self.runs[rows])


def labelled(
    features: NDArray, index: pd.DataFrame, runs: pd.DataFrame, hyperparameter: str
) -> Examples:
    """Give each row of features its net's hyper-parameter.

    Parameters
    ----------
    features : ndarray, shape [rows, ...]
    index : DataFrame
        Its column ``run`` says which net a row is of.
    runs : DataFrame
        A row a net, as in a zoo.
    hyperparameter : str
        A column of ``runs``.
    """
    value_of = runs.set_index("run")[hyperparameter]
    ids = index["run"].to_numpy()
    return Examples(features, value_of.loc[ids].to_numpy(), ids)


@dataclass(frozen=True, eq=False)
class Split:
    """Nets of a round.

    Attributes
    ----------
    train, test : ndarray of int
        Run ids.
    """

    train: NDArray
    test: NDArray


def rounds(
    runs: pd.DataFrame,
    hyperparameter: str,
    n_rounds: int = N_ROUNDS,
    test_share: float = 1 / 3,
    seed: int = 0,
) -> list[Split]:
    """Draw training and test nets anew for each round, of each class equally many.

    The smallest class says how many (supplement C). Round k depends on the seed and
    on k, not on how many rounds there are.

    Parameters
    ----------
    runs : DataFrame
        The nets that count, one row each.
    hyperparameter : str
    n_rounds : int
    test_share : float
        Share of test nets (the paper's sets have 2 : 1).
    seed : int

    Returns
    -------
    list of Split

    Raises
    ------
    ValueError
        If there is only one class, or too few nets of one.
    """
    classes = {
        value: group["run"].to_numpy()
        for value, group in runs.groupby(hyperparameter, sort=True)
    }
    if len(classes) < 2:
        raise ValueError(
            f"all {len(runs)} nets have one {hyperparameter}: there is nothing to "
            "tell apart, pass nets of two classes at least."
        )
    rarest = min(classes, key=lambda value: len(classes[value]))
    smallest = len(classes[rarest])
    n_test = max(1, round(test_share * smallest))
    if smallest - n_test < 1:
        raise ValueError(
            f"only {smallest} nets have {hyperparameter} {rarest}: each class needs "
            "nets to train and to test, sample more."
        )
    splits = []
    for number in range(n_rounds):
        generator = np.random.default_rng([seed, number])
        drawn = [generator.permutation(ids)[:smallest] for ids in classes.values()]
        splits.append(
            Split(
                train=np.concatenate([ids[n_test:] for ids in drawn]),
                test=np.concatenate([ids[:n_test] for ids in drawn]),
            )
        )
    return splits


def by_snapshot(
    examples: Examples, test_share: float = 1 / 3, seed: int = 0
) -> tuple[Examples, Examples]:
    """Divide rows whatever net they are of: the authors' way, which leaks.

    Returns
    -------
    train, test : Examples
    """
    order = np.random.default_rng(seed).permutation(len(examples))
    n_test = round(test_share * len(examples))
    return examples.where(order[n_test:]), examples.where(order[:n_test])


#: (training examples, seed) -> fitted meta-classifier. Whatever it chooses, it chooses
#: on these examples; ``examples.runs`` keep nets apart in its own validation.
Trainer = Callable[[Examples, int], Classifier]


@dataclass(frozen=True, eq=False)
class Judged:
    """What a meta-classifier did in all rounds.

    Attributes
    ----------
    accuracies : ndarray, shape [rounds]
        On test rows.
    confusion : ndarray of int, shape [classes, classes]
        Test rows of all rounds, by true class (down) and predicted class.
    classes : ndarray
    n_train, n_test : int
        Nets in a round.
    """

    accuracies: NDArray
    confusion: NDArray
    classes: NDArray
    n_train: int
    n_test: int

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Standard deviation over rounds, as in the paper's error bars."""
        return float(self.accuracies.std(ddof=1))

    @property
    def chance(self) -> float:
        """Accuracy of guessing, the classes being equally frequent."""
        return 1 / len(self.classes)

    @property
    def p_chance(self) -> float:
        """Probability of at least this mean if the truth were chance."""
        return p_above_zero(self.accuracies - self.chance, self.n_train, self.n_test)


def judge(
    train: Trainer,
    examples: Examples,
    splits: Iterable[Split],
    seed: int = 0,
    jobs: int = 1,
) -> Judged:
    """Train on each round's training nets and test on its test nets.

    Parameters
    ----------
    train : callable
    examples : Examples
        Of all nets of the rounds.
    splits : iterable of Split
        From :func:`rounds`.
    seed : int
        Round k is trained with ``seed + k``.
    jobs : int
        Rounds at once, in processes of their own; -1 for as many as there are cores.

    Raises
    ------
    ValueError
        If a net of a round has no row.
    """
    from joblib import Parallel, delayed  # only where it is used

    splits = list(splits)
    asked = np.unique(
        np.concatenate([ids for s in splits for ids in (s.train, s.test)])
    )
    if len(missing := np.setdiff1d(asked, examples.runs)):
        raise ValueError(
            f"{len(missing)} nets of the rounds have no row of features, run "
            f"{missing[0]} the first: draw rounds from nets with features."
        )
    classes = np.unique(examples.of(asked).labels)
    told = Parallel(n_jobs=jobs)(
        delayed(_tell)(train, examples, split, seed + number)
        for number, split in enumerate(splits)
    )
    accuracies, confusion = [], np.zeros((len(classes), len(classes)), dtype=int)
    for truth, predicted in told:
        accuracies.append(np.mean(predicted == truth))
        places = (np.searchsorted(classes, labels) for labels in (truth, predicted))
        np.add.at(confusion, tuple(places), 1)
    return Judged(
        np.array(accuracies),
        confusion,
        classes,
        n_train=len(splits[0].train),
        n_test=len(splits[0].test),
    )


def _tell(
    train: Trainer, examples: Examples, split: Split, seed: int
) -> tuple[NDArray, NDArray]:
    """True and predicted labels of a round's test rows."""
    test = examples.of(split.test)
    classifier = train(examples.of(split.train), seed)
    return test.labels, classifier.predict(test.features)


def p_above_zero(
    differences: Sequence[float] | NDArray, n_train: int, n_test: int
) -> float:
    """Test whether a mean over rounds is above zero.

    Rounds share nets, so their results are no independent draws and a plain t-test
    finds too much. The corrected resampled t-test of Nadeau and Bengio ("Inference
    for the generalization error", 2003) adds the share of test to training nets to
    the variance of the mean.

    Parameters
    ----------
    differences : sequence of float, one a round
        Accuracy above chance, or above another meta-classifier's in the same round.
    n_train, n_test : int
        Nets in a round.

    Returns
    -------
    float
        One-sided p-value; 0.5 where all differences are zero.
    """
    from scipy.stats import t

    d = np.asarray(differences, dtype=float)
    spread = np.sqrt(d.var(ddof=1) * (1 / len(d) + n_test / n_train))
    if spread == 0:
        return 0.5 if d.mean() == 0 else float(d.mean() < 0)
    return float(t.sf(d.mean() / spread, len(d) - 1))
