"""The exam of deep meta-classifiers: who learns from which nets, how often it is right.

The protocol is that of all meta-classifiers (:mod:`nwslib.meta.protocol`): whole nets
are divided, classes are equally large, in rounds. Chapters 13 to 15 put the same
questions to the same nets, so that what one has trained the next one finds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nwslib._device import has_bfloat16
from nwslib.meta import dmc, whole_net
from nwslib.meta.dmc_classifier import DeepClassifier, Recipe
from nwslib.meta.dmc_many import Job, train_many
from nwslib.meta.pool import HYPERPARAMETERS, Pool, open_pool
from nwslib.meta.protocol import Examples, Judged, Split, rounds
from nwslib.meta.weight_store import WeightStore
from nwslib.profiles import Profile

#: Snapshots a net that local and global DMCs learn from, its last (supplement F.1).
LAST = {"local": 2, "global": 4}
#: Hyper-parameters that nets of one architecture have (Fig. 2).
GLOBAL = HYPERPARAMETERS[:6]
# Slices in memory at once.
_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Exam:
    """Nets, their weights, and how they are divided. Make one with :func:`open_exam`.

    Attributes
    ----------
    pool : Pool
    store : WeightStore
        The last snapshots of the pool's nets.
    folder : Path
        Where trainings are kept.
    n_rounds, seed : int
        Round k is trained with ``seed + k``.
    least : int
        Nets a class; smaller ones are left out.
    """

    pool: Pool
    store: WeightStore
    folder: Path
    n_rounds: int
    seed: int
    least: int

    def questions(
        self,
        *sets: str,
        slices: bool = False,
        among: Collection[str] = HYPERPARAMETERS,
    ) -> dict[str, list[Split]]:
        """Rounds of every hyper-parameter that there are nets enough for.

        Parameters
        ----------
        *sets : str
            Which nets are asked about.
        slices : bool
            Only nets with 5,000 weights or more in their convolutions, which give
            slices of every part.
        among : collection of str
            Which hyper-parameters are asked about, if there are nets enough.
        """
        asked = {}
        for one in HYPERPARAMETERS:
            if one not in among:
                continue
            nets = self.pool.nets_for(one, sets, self.least)
            if slices:
                nets = nets[nets["n_conv_weights"] >= dmc.LOCAL_LENGTH]
                nets = nets[nets[one].map(nets[one].value_counts()) >= self.least]
            if nets[one].nunique() > 1:
                asked[one] = rounds(nets, one, self.n_rounds, seed=self.seed)
        return asked

    def jobs(
        self, asked: Mapping[str, Sequence[Split]], recipe: Recipe, prefix: str = ""
    ) -> list[Job]:
        """A training for every question and round.

        Parameters
        ----------
        asked : mapping of str to sequence of Split
            From :meth:`questions`.
        recipe : Recipe
        prefix : str
            Begins the jobs' names.
        """
        return [
            Job(
                _name(prefix, one, recipe, k),
                self.pool.examples(self.store, one, LAST[recipe.kind]).of(split.train),
                recipe,
                self.seed + k,
            )
            for one, splits in asked.items()
            for k, split in enumerate(splits)
        ]

    def train(
        self, asked: Mapping[str, Sequence[Split]], recipe: Recipe, prefix: str = ""
    ) -> dict[str, list[DeepClassifier]]:
        """DMCs of all rounds by question, trained or read where they have been.

        Parameters as for :meth:`jobs`.
        """
        jobs = self.jobs(asked, recipe, prefix)
        trained = dict(train_many(self.store, jobs, checkpoints=self._kept(recipe)))
        return {
            one: [trained[_name(prefix, one, recipe, k)] for k in range(len(splits))]
            for one, splits in asked.items()
        }

    def taken(
        self,
        hyperparameter: str,
        splits: Sequence[Split],
        classifiers: Sequence[DeepClassifier],
        store: WeightStore | None = None,
    ) -> dict:
        """How often DMCs are right about the last snapshots of test nets.

        Parameters
        ----------
        hyperparameter : str
        splits : sequence of Split
        classifiers : sequence of DeepClassifier
            One a round.
        store : WeightStore, optional
            Other weights of the same nets, such as stripped ones.

        Returns
        -------
        dict
            ``accuracies`` of the rounds, ``chance``, and the numbers of nets
            ``n_train`` and ``n_test`` of a round.
        """
        store = self.store if store is None else store
        examples = self.pool.examples(store, hyperparameter, 1)
        found = [
            accuracy(classifier, store, examples.of(split.test), seed=self.seed)
            for classifier, split in zip(classifiers, splits, strict=True)
        ]
        return _record(found, classifiers[0].classes_, splits)

    def voted(
        self,
        hyperparameter: str,
        splits: Sequence[Split],
        classifiers: Sequence[DeepClassifier],
    ) -> dict:
        """How often local DMCs are right about whole nets, slices voting.

        Parameters and result as for :meth:`taken`.
        """
        return self._told(hyperparameter, splits, classifiers, None)

    def aggregated(
        self,
        hyperparameter: str,
        splits: Sequence[Split],
        classifiers: Sequence[DeepClassifier],
        prefix: str = "",
    ) -> dict:
        """How often they are right when it is learned where in a net to trust them.

        That is learned from the same training nets: each half of them is told by a
        DMC that was trained on the other half.

        Parameters
        ----------
        hyperparameter, splits, classifiers
            As for :meth:`taken`.
        prefix : str
            Begins the names of the folders where the halves' trainings are kept.

        Returns
        -------
        dict
            As :meth:`taken`.
        """
        every = self.pool.examples(self.store, hyperparameter, LAST["local"])
        aggregators = []
        for k, (classifier, split) in enumerate(zip(classifiers, splits, strict=True)):
            recipe = classifier.recipe
            name = _name(prefix, hyperparameter, recipe, k)
            scored = whole_net.out_of_fold(
                self.store, every.of(split.train), recipe, self.seed + k,
                n_folds=2, checkpoints=self._kept(recipe) / f"halves-{name}",
            )  # fmt: skip
            aggregators.append(whole_net.aggregate(scored, seed=self.seed))
        return self._told(hyperparameter, splits, classifiers, aggregators)

    def _kept(self, recipe: Recipe) -> Path:
        """Where trainings by a recipe are kept, of these nets and seeds."""
        given = recipe, self.seed, self.least, self.store.index["run"].unique().tolist()
        return self.folder / hashlib.sha256(repr(given).encode()).hexdigest()[:12]

    def _told(
        self,
        hyperparameter: str,
        splits: Sequence[Split],
        classifiers: Sequence[DeepClassifier],
        aggregators: Sequence[whole_net.Aggregator] | None,
    ) -> dict:
        """Whole nets told from many slices, by vote where there is no aggregator."""
        examples, found = self.pool.examples(self.store, hyperparameter, 1), []
        for k, (classifier, split) in enumerate(zip(classifiers, splits, strict=True)):
            test = examples.of(split.test)
            scores = whole_net.slice_scores(classifier, self.store, test.features)
            if aggregators is None:
                told = classifier.classes_[whole_net.vote(scores).argmax(axis=1)]
            else:
                told = aggregators[k].predict(scores)
            found.append(float((told == test.labels).mean()))
        return _record(found, classifiers[0].classes_, splits)


def open_exam(
    sizes: Profile,
    out_dir: str | os.PathLike[str],
    *,
    sets: Sequence[str] = ("fixed", "main"),
    data_dir: str | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Exam:
    """Open the sampled nets of a profile, training what is missing, and their weights.

    In a quick build nets count that learned nothing, for so few others are there.

    Parameters
    ----------
    sizes : Profile
    out_dir : path
        Zoos are in its folder ``zoos``, weights and trainings in ``deep``.
    sets : sequence of str
        Out of ``fixed``, ``main`` and ``plain``.
    data_dir : str, optional
        Where image sets are.
    device : str
        What DMCs train on.
    seed : int
    """
    small = sizes.name == "quick"
    pool = open_pool(
        sizes, out_dir, sets=sets, data_dir=data_dir, seed=seed, everyone=small
    )
    folder = Path(out_dir) / "deep" / f"{sizes.name}-{'-'.join(sets)}"
    folder.mkdir(parents=True, exist_ok=True)
    snapshots = next(iter(pool.zoos.values())).snapshots[-max(LAST.values()) :]
    store = pool.store(snapshots, file=folder / "weights.bin", device=device)
    return Exam(pool, store, folder, sizes.n_deep_rounds, seed, 3 if small else 6)


def recipes(sizes: Profile, device: str = "cpu") -> dict[str, Recipe]:
    """How a profile trains ``local`` and ``global`` DMCs on a device.

    Narrow nets have no units to spare for dropout, and learn little from weights as
    they are: they read their logarithms. They go with small zoos, of which small
    batches make more steps an epoch. Where the device computes in bfloat16, twice as
    fast, they do.
    """
    given = {"width": sizes.deep_width, "autocast": has_bfloat16(device)}
    if sizes.deep_width < 1:
        given |= {"dropout": 0.0, "batch": 16, "log_unit": 0.01}
    return {
        "local": Recipe(epochs=sizes.local_epochs, **given),
        "global": Recipe(
            "global", dmc.GLOBAL_LENGTH, epochs=sizes.global_epochs, **given
        ),
    }


def accuracy(
    classifier: DeepClassifier,
    store: WeightStore,
    examples: Examples,
    per_row: int = 10,
    seed: int = 0,
) -> float:
    """How often a DMC is right about rows of a store.

    Parameters
    ----------
    classifier : DeepClassifier
    store : WeightStore
    examples : Examples
        Features are row numbers of the store.
    per_row : int
        Slices of each row, at random places; a global DMC sees each row once.
    seed : int
        Of the places.
    """
    recipe = classifier.recipe
    rows = np.repeat(np.arange(len(examples)), per_row if recipe.kind == "local" else 1)
    generator, right = torch.Generator().manual_seed(seed), 0
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        slices = store.slices_of(
            examples.features[some], generator, recipe.size, recipe.part
        )
        right += int((classifier.predict(slices) == examples.labels[some]).sum())
    return right / len(rows)


def record(judged: Judged) -> dict:
    """Write down what another meta-classifier did, as :meth:`Exam.taken` does."""
    return {
        "accuracies": judged.accuracies.tolist(),
        "chance": judged.chance,
        "n_train": judged.n_train,
        "n_test": judged.n_test,
    }


def summary(found: Mapping[str, Mapping[str, Mapping]]) -> pd.DataFrame:
    """A row a hyper-parameter and model: mean, deviation over rounds, chance.

    Parameters
    ----------
    found : mapping of str to mapping of str to mapping
        By hyper-parameter, then by model, as :meth:`Exam.taken` gives them.

    Returns
    -------
    DataFrame
        Columns ``hyperparameter``, ``model``, ``mean``, ``std`` (not a number for a
        single round), ``chance``, ``n_train`` and ``n_test``.
    """
    rows = [
        {
            "hyperparameter": one,
            "model": model,
            "mean": float(np.mean(each["accuracies"])),
            "std": float(pd.Series(each["accuracies"]).std()),
        }
        | {key: each[key] for key in ("chance", "n_train", "n_test")}
        for one, of_one in found.items()
        for model, each in of_one.items()
    ]
    return pd.DataFrame(rows)


def as_table(found: Mapping[str, Mapping[str, Mapping]]) -> pd.DataFrame:
    """Mean and deviation in percent, a row a hyper-parameter, a column a model.

    Parameters as for :func:`summary`.
    """
    table = summary(found)
    table["cell"] = list(map(percent, table["mean"], table["std"]))
    order = list(dict.fromkeys(table["model"]))
    wide = table.pivot(index="hyperparameter", columns="model", values="cell")
    of_one = table.groupby("hyperparameter")[["chance", "n_train", "n_test"]].first()
    wide = wide.loc[list(found), order]
    wide["chance"] = (100 * of_one["chance"]).map("{:.1f}".format)
    wide["nets to train"], wide["to test"] = of_one["n_train"], of_one["n_test"]
    return wide.rename_axis(columns=None)


def percent(mean: float, std: float) -> str:
    """A mean share and its deviation, if there is one, in words that stay in a line."""
    if np.isnan(std):
        return f"{100 * mean:.1f}"
    space = "\N{NO-BREAK SPACE}"
    return f"{100 * mean:.1f}{space}±{space}{100 * std:.1f}"


def skill(record: Mapping) -> float:
    """Mean accuracy of what :meth:`Exam.taken` gives: 0 is chance, 1 always right."""
    return (np.mean(record["accuracies"]) - record["chance"]) / (1 - record["chance"])


def error(record: Mapping) -> float:
    """Standard error of the mean accuracy of what :meth:`Exam.taken` gives.

    Each test net counts once in each round, however many of its slices are asked about,
    as if all were independent.
    """
    mean, rounds_ = np.mean(record["accuracies"]), len(record["accuracies"])
    return float(np.sqrt(mean * (1 - mean) / (rounds_ * record["n_test"])))


def gap(one: Mapping, other: Mapping) -> tuple[float, float]:
    """By how much one is more often right than the other, and the standard error.

    Parameters
    ----------
    one, other : mapping
        As :meth:`Exam.taken` gives them. The same nets may be asked in both, and again
        in other rounds; the error takes all for different nets.
    """
    difference = np.mean(one["accuracies"]) - np.mean(other["accuracies"])
    return float(difference), float(np.hypot(error(one), error(other)))


def average(gaps: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Mean of differences, and its standard error as if they were independent."""
    differences, errors = np.array(list(gaps)).T
    return float(differences.mean()), float(np.hypot.reduce(errors) / len(errors))


def points(difference: tuple[float, float]) -> str:
    """Words for a difference of accuracies and its standard error."""
    return "{:+.1f} ± {:.1f} points".format(*(100 * each for each in difference))


def verdict(difference: float, error: float, least: float = 0.0) -> str:
    """Whether numbers bear out that a difference is larger than ``least``.

    Returns
    -------
    str
        ``agrees`` or ``contradicts`` if it is off by more than two standard errors,
        else ``undecided``.
    """
    if abs(difference - least) <= 2 * error:
        return "undecided"
    return "agrees" if difference > least else "contradicts"


def fewer(split: Split, runs: pd.DataFrame, hyperparameter: str, share: float) -> Split:
    """The same round with a share of its training nets, of each class equally many.

    Parameters
    ----------
    split : Split
    runs : DataFrame
        The pool's.
    hyperparameter : str
    share : float
        From 0 to 1; each class keeps two nets at least. A smaller share's nets are
        among a larger one's.
    """
    label = runs.set_index("run")[hyperparameter].loc[split.train].to_numpy()
    kept = []
    for value in np.unique(label):
        of_class = split.train[label == value]
        kept.append(of_class[: max(2, round(share * len(of_class)))])
    return replace(split, train=np.concatenate(kept))


def _record(found: list[float], classes: NDArray, splits: Sequence[Split]) -> dict:
    """Accuracies of the rounds, and what they are of."""
    return {
        "accuracies": found,
        "chance": 1 / len(classes),
        "n_train": len(splits[0].train),
        "n_test": len(splits[0].test),
    }


def _name(prefix: str, hyperparameter: str, recipe: Recipe, number: int) -> str:
    """A job's name: question, kind, part, size, round."""
    words = (hyperparameter, recipe.kind, recipe.part, recipe.size, number)
    return prefix + "-".join(map(str, words))
