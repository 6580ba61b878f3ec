"""Maps and whole nets: classifiers whose answers are known by place and by moment."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from nwslib import features
from nwslib.meta import whole
from nwslib.meta.dmc_classifier import Recipe
from nwslib.meta.maps import performance_map
from nwslib.meta.protocol import Examples
from nwslib.meta.weight_store import WeightStore

LENGTH, SIZE, SNAPSHOTS = 1000, 20, (0, 5, 9)


def store_of(n_nets):
    """Weights that tell their place, 0 to 1, plus the net's snapshot as a whole."""
    ramp = torch.arange(LENGTH) / LENGTH
    index = [(run, snapshot) for run in range(n_nets) for snapshot in SNAPSHOTS]
    flat = torch.cat([ramp + snapshot for _, snapshot in index])
    start = LENGTH * np.arange(len(index))
    table = pd.DataFrame(index, columns=["run", "snapshot"]).assign(
        start=start, conv_stop=start + 400, stop=start + LENGTH
    )
    return WeightStore(flat, table)


def examples_of(store, labels):
    runs = store.index["run"].to_numpy()
    return Examples(np.arange(len(store)), np.array(labels)[runs], runs)


class Knowing:
    """Says 1 of what begins in the first half of a net, from snapshot 5 on."""

    def predict(self, slices):
        first = np.asarray(slices)[:, 0]
        return ((first % 1 < 0.5) & (first >= 5)).astype(int)


def test_a_map_has_each_place_and_moment_where_it_belongs():
    store = store_of(4)
    found = performance_map(
        Knowing(), store, examples_of(store, [1, 1, 0, 1]), [0, 0.25, 0.75, 1],
        size=SIZE,
    )  # fmt: skip
    assert found.snapshots.tolist() == [0, 5, 9] and found.n_nets == 4
    early, late = [0.25] * 4, [0.75, 0.75, 0.25, 0.25]
    assert found.accuracy.tolist() == [early, late, late]


def test_a_map_of_a_part_reaches_over_that_part_alone():
    store = store_of(2)
    given = dict(size=SIZE, part="conv")
    found = performance_map(
        Knowing(), store, examples_of(store, [1, 1]), [0, 1], **given
    )
    assert found.accuracy.tolist() == [[0, 0], [1, 1], [1, 1]]


def test_many_places_are_asked_a_few_rows_at_a_time(monkeypatch):
    store, most = store_of(5), []

    class Counting(Knowing):
        def predict(self, slices):
            most.append(len(slices))
            return super().predict(slices)

    places = np.linspace(0, 1, 100)
    found = performance_map(
        Counting(), store, examples_of(store, [1] * 5), places, size=SIZE
    )
    assert max(most) <= 256 and sum(most) == 5 * 3 * 100
    assert (found.accuracy[1] == (places * (LENGTH - SIZE) < 500)).all()


def test_a_machine_is_asked_about_statistics():
    store, seen = store_of(2), []

    class Machine:
        def predict(self, rows):
            seen.append(rows)
            return np.zeros(len(rows))

    performance_map(
        Machine(), store, examples_of(store, [0, 1]), [0.5],
        size=SIZE, describe=features.whole,
    )  # fmt: skip
    assert np.concatenate(seen).shape == (6, 16)


def test_a_map_needs_each_net_at_each_moment():
    store = store_of(2)
    every = examples_of(store, [0, 1])
    with pytest.raises(ValueError, match="snapshot 9 has 1 rows and there are 2 nets"):
        performance_map(Knowing(), store, every.where([0, 1, 2, 3, 4]), [0], size=SIZE)
    with pytest.raises(ValueError, match="no nets to ask about"):
        performance_map(Knowing(), store, every.of([]), [0], size=SIZE)


class Witness(SimpleNamespace):
    """A local classifier that is right in the first quarter of a net only."""

    classes_ = np.array(["a", "b"])
    recipe = Recipe(size=SIZE)

    def predict_proba(self, slices):
        # The whole part of a weight is the net's class, elsewhere it says b.
        first = np.asarray(slices)[:, 0]
        b = np.where(first % 1 < 0.25, np.floor(first) * 0.9 + 0.05, 0.9)
        return np.stack([1 - b, b], axis=1)


def witnessed(n_nets, seed=0):
    """Nets whose class is the whole part of their weights, and their rows."""
    labels = np.arange(n_nets) % 2
    ramp = torch.arange(LENGTH) / LENGTH
    flat = torch.cat([ramp + int(label) for label in labels])
    start = LENGTH * np.arange(n_nets)
    table = pd.DataFrame(
        {"run": range(n_nets), "snapshot": 9, "start": start, "conv_stop": start + 400,
         "stop": start + LENGTH}
    )  # fmt: skip
    store = WeightStore(flat, table)
    return store, Examples(
        np.arange(n_nets), Witness.classes_[labels], np.arange(n_nets)
    )


def test_testimony_is_given_from_first_weight_to_last():
    store, examples = witnessed(40)
    said = whole.testimony(Witness(), store, examples, n_slices=5)
    assert said.shape == (40, 5, 2)
    assert np.allclose(said[0, 0], np.log([0.95, 0.05]))
    assert np.allclose(said[1, 0], np.log([0.05, 0.95]))
    assert np.allclose(said[:, 2:], np.log([0.1, 0.9]))


def test_a_vote_multiplies_probabilities():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(3), size=(50, 7))  # [rows, slices, classes]
    expected = probability.prod(axis=1).argmax(axis=1)
    assert (whole.vote(np.log(probability)) == expected).all()


def test_no_slice_rules_a_class_out():
    class Sure(Witness):
        def predict_proba(self, slices):
            return np.tile([1.0, 0.0], (len(slices), 1))

    store, examples = witnessed(2)
    assert np.isfinite(whole.testimony(Sure(), store, examples)).all()


def test_regions_are_means_of_neighbours():
    said = np.arange(2 * 6 * 2, dtype=float).reshape(2, 6, 2)
    found = whole.regions(said, 3)
    assert found.shape == (2, 6)
    assert found[0].tolist() == [1, 2, 5, 6, 9, 10]
    with pytest.raises(ValueError, match="7 regions of 6 slices"):
        whole.regions(said, 7)


def test_it_is_learned_where_to_trust_a_classifier():
    store, examples = witnessed(60)
    said = whole.testimony(Witness(), store, examples)
    by_vote = Witness.classes_[whole.vote(said)]
    assert (by_vote == examples.labels).mean() < 0.6  # most slices say b
    jury = whole.learn(Witness(), store, examples.of(np.arange(30)))
    rest = examples.of(np.arange(30, 60))
    assert (jury.predict(store, rest) == rest.labels).all()
