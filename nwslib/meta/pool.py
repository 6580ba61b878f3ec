"""The sampled sets as one: nets that learned something, and their weights.

The paper's main set is large enough to answer every question alone (Eilertsen et al.
2020, section 5.3). Ours are small, so that questions that are not about architecture
are put to the nets of both sets.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nwslib import features, nws, papers
from nwslib.meta.protocol import Examples, labelled
from nwslib.meta.weight_store import WeightStore
from nwslib.nws.table import CATEGORIES, successful
from nwslib.profiles import Profile
from nwslib.zoo import Zoo

#: Eleven questions: which category of each hyper-parameter?
HYPERPARAMETERS = ("dataset", *CATEGORIES)
#: Those of them that only nets of drawn architectures can answer.
ARCHITECTURAL = tuple(CATEGORIES)[5:]
#: What is added to run ids of each set, so that no two nets have one number.
OFFSETS = {"fixed": 0, "main": 1_000_000, "plain": 2_000_000}
#: Least test accuracy of a net that counts, on our own small set, which is like MNIST.
OWN_THRESHOLDS = {"digits": papers.NWS_THRESHOLDS["mnist"]}


@dataclass(frozen=True, eq=False)
class Pool:
    """Nets of several sets. Make one with :func:`open_pool`.

    Attributes
    ----------
    zoos : dict of str to Zoo
        By set: ``fixed``, ``main`` or ``plain``.
    runs : DataFrame
        A row a net that counts, as in a zoo, with its ``set``. Run ids are those of
        the zoo and the set's offset (:data:`OFFSETS`).
    """

    zoos: dict[str, Zoo]
    runs: pd.DataFrame

    def nets_for(
        self,
        hyperparameter: str,
        sets: Collection[str] = ("fixed", "main"),
        least: int = 6,
    ) -> pd.DataFrame:
        """Nets to put a question to.

        Parameters
        ----------
        hyperparameter : str
            Out of :data:`HYPERPARAMETERS`.
        sets : collection of str
            Where nets may be from; for an architectural question only ``main``
            counts.
        least : int
            Classes of fewer nets are left out.

        Returns
        -------
        DataFrame
            Rows of ``runs``; none if fewer than two classes are left.
        """
        if hyperparameter in ARCHITECTURAL:
            sets = set(sets) & {"main"}
        there = self.runs[self.runs["set"].isin(list(sets))]
        counts = there[hyperparameter].map(there[hyperparameter].value_counts())
        there = there[counts >= least]
        return there if there[hyperparameter].nunique() > 1 else there[:0]

    def slices(
        self,
        size: int,
        part: str = "all",
        *,
        runs: pd.DataFrame | None = None,
        per_net: int = 10,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Statistics of slices of the nets' last snapshots.

        Parameters
        ----------
        size, part, per_net, seed
            As for :func:`nwslib.features.slices_of_zoo`, with the same errors.
        runs : DataFrame
            Rows of ``runs``, all by default.

        Returns
        -------
        DataFrame
            A row a slice: its net's ``run``, then 16 statistics.

        Raises
        ------
        ValueError
            If there are no nets.
        """
        runs = self.runs if runs is None else runs
        tables = []
        for name, zoo in self.zoos.items():
            ids = runs.loc[runs["set"] == name, "run"] - OFFSETS[name]
            if len(ids):
                table = features.slices_of_zoo(
                    zoo, size, per_net, part, ids.tolist(), zoo.snapshots[-1:], seed
                )
                rows = pd.DataFrame(table.values, columns=list(table.names))
                rows.insert(0, "run", table.index["run"] + OFFSETS[name])
                tables.append(rows)
        if not tables:
            raise ValueError("no nets to take slices of: sample more of them.")
        return pd.concat(tables, ignore_index=True)

    def store(
        self,
        snapshots: Iterable[int] | None = None,
        *,
        sets: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        file: str | Path | None = None,
        device: str = "cpu",
    ) -> WeightStore:
        """Weights of the nets, see :meth:`.WeightStore.of_zoos`."""
        asked = {
            OFFSETS[name]: (zoo, (ids - OFFSETS[name]).tolist())
            for name, zoo in self.zoos.items()
            if sets is None or name in sets
            if len(ids := self.runs.loc[self.runs["set"] == name, "run"])
        }
        return WeightStore.of_zoos(
            asked, snapshots, kinds=kinds, file=file, device=device
        )

    def examples(
        self, store: WeightStore, hyperparameter: str, last: int | None = None
    ) -> Examples:
        """Rows of a store by their numbers, labelled.

        Parameters
        ----------
        store : WeightStore
            Of this pool.
        hyperparameter : str
        last : int, optional
            Only so many of each net's last snapshots; all by default.
        """
        rows = np.arange(len(store))
        if last is not None:
            kept = np.sort(store.index["snapshot"].unique())[-last:]
            rows = rows[store.index["snapshot"].isin(kept)]
        return labelled(rows, store.index.iloc[rows], self.runs, hyperparameter)


def open_pool(
    sizes: Profile,
    out_dir: str | os.PathLike[str],
    *,
    sets: Collection[str] = ("fixed", "main"),
    data_dir: str | None = None,
    seed: int = 0,
    everyone: bool = False,
) -> Pool:
    """Open the sampled sets of a profile, or train what is missing from them.

    Parameters
    ----------
    sizes : Profile
    out_dir : path
        Zoos are in its folder ``zoos``.
    sets : collection of str
        Out of ``fixed``, ``main`` and ``plain``, the nets without batch norm.
    data_dir : str, optional
        Where image sets are.
    seed : int
        Of the sampling.
    everyone : bool
        Count nets that learned nothing, too, if their weights are finite.
    """
    zoos = {
        name: nws.sample(
            Path(out_dir) / "zoos" / plan.name, plan, count,
            data_dir=data_dir, progress=False,
        )
        for name, (plan, count) in sizes.sampled_sets(seed).items()
        if name in sets
    }  # fmt: skip
    return Pool(zoos, _together(zoos, everyone))


def _together(zoos: Mapping[str, Zoo], everyone: bool) -> pd.DataFrame:
    """One table of the nets that count."""
    tables = []
    for name, zoo in zoos.items():
        table = zoo.runs[~zoo.runs["diverged"]]
        if not everyone:
            table = successful(table, OWN_THRESHOLDS)
        tables.append(table.assign(run=table["run"] + OFFSETS[name], set=name))
    return pd.concat(tables, ignore_index=True)
