"""Performance maps: a classifier that is right at known places and times."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from test_meta_dmc import planted

from nwslib.features import whole
from nwslib.meta import maps
from nwslib.meta.dmc_classifier import Recipe
from nwslib.meta.dmc_training import train
from nwslib.meta.maps import performance_map, pooled
from nwslib.meta.protocol import Examples
from nwslib.meta.svm import linear
from nwslib.meta.weight_store import WeightStore

LENGTH, SNAPSHOTS = 100, (0, 5, 9)


def ruled(lengths=(LENGTH, LENGTH, LENGTH, LENGTH)):
    """A store whose weights are their own relative place, plus ten a snapshot."""
    rows, vectors, start = [], [], 0
    for run, length in enumerate(lengths):
        for k, snapshot in enumerate(SNAPSHOTS):
            vectors.append(np.arange(length) / length + 10 * k)
            rows.append((run, snapshot, start, start + length // 4, start + length))
            start += length
    columns = ["run", "snapshot", "start", "conv_stop", "stop"]
    flat = torch.from_numpy(np.concatenate(vectors).astype(np.float32))
    store = WeightStore(flat, pd.DataFrame(rows, columns=columns))
    runs = store.index["run"].to_numpy()
    return store, Examples(np.arange(len(store)), np.where(runs % 2, "b", "a"), runs)


class Ruled:
    """Says a; beyond a place that grows by 0.2 a snapshot it says b."""

    def __init__(self):
        self.seen = []

    def predict(self, slices):
        self.seen.append(slices.shape)
        snapshot, place = np.divmod(np.asarray(slices)[:, 0], 10)
        return np.where(place > 0.2 * snapshot + 0.15, "b", "a")


POSITIONS = np.linspace(0, 1, 10)


def test_a_map_says_where_and_when():
    store, examples = ruled()
    few = examples.where(examples.labels == "b")
    found = performance_map(Ruled(), store, few, POSITIONS, 10)
    start = np.round(POSITIONS * 90) / 100  # of each slice
    expected = start > 0.2 * np.arange(3)[:, None] + 0.15
    np.testing.assert_array_equal(found.accuracy, expected)
    np.testing.assert_array_equal(found.right, 2 * expected)
    assert found.nets.tolist() == [2, 2, 2]
    assert found.snapshots.tolist() == [*SNAPSHOTS]
    both = performance_map(Ruled(), store, examples, POSITIONS, 10)
    np.testing.assert_array_equal(both.accuracy, np.full((3, 10), 0.5))
    np.testing.assert_allclose(both.error, 0.25)


def test_a_map_does_not_depend_on_batches(monkeypatch):
    store, examples = ruled((100, 200, 150, 120))
    examples = examples.where(np.random.default_rng(0).permutation(12)[:9])
    whole_, small = Ruled(), Ruled()
    expected = performance_map(whole_, store, examples, POSITIONS, 10, "fc")
    monkeypatch.setattr(maps, "_AT_ONCE", 250)  # two nets
    found = performance_map(small, store, examples, POSITIONS, 10, "fc")
    np.testing.assert_array_equal(found.right, expected.right)
    assert whole_.seen == [(90, 10)]
    assert small.seen == [(20, 10)] * 4 + [(10, 10)]
    assert found.nets.sum() == 9
    assert found.part == "fc" and found.size == 10


def test_a_table_has_a_row_a_place_and_time():
    store, examples = ruled()
    found = performance_map(Ruled(), store, examples.of([1]), POSITIONS, 10)
    table = found.table()
    assert table.columns.tolist() == ["snapshot", "position", "accuracy", "nets"]
    wide = table.pivot(index="snapshot", columns="position", values="accuracy")
    np.testing.assert_array_equal(wide.to_numpy(), found.accuracy)


def test_rounds_are_pooled():
    store, examples = ruled()
    one, other = (
        performance_map(Ruled(), store, examples.of([run]), POSITIONS, 10)
        for run in (0, 1)
    )
    both = performance_map(Ruled(), store, examples.of([0, 1]), POSITIONS, 10)
    np.testing.assert_array_equal(pooled([one, other]).right, both.right)
    np.testing.assert_array_equal(pooled([one, other]).nets, both.nets)


def test_deep_classifiers_and_machines_have_maps():
    store, examples = planted(12, 120)
    recipe = Recipe(size=32, width=1 / 8, dropout=0.1, epochs=30, batch=12)
    deep = train(store, examples, recipe, seed=1)
    slices = store.grid(examples.features, [0.2, 0.7], 32).numpy()
    labels = examples.labels.repeat(2)
    by_features = Examples(
        whole(slices.reshape(-1, 32)), labels, examples.runs.repeat(2)
    )
    machine = linear(by_features)
    for classifier, features in ((deep, None), (machine, whole)):
        found = performance_map(
            classifier, store, examples, [0, 0.5, 1], 32, features=features
        )
        assert found.accuracy.shape == (2, 3)
        assert found.accuracy.mean() > 0.8


def test_errors():
    store, examples = ruled()

    def fails(message, examples=examples, positions=POSITIONS, size=10):
        with pytest.raises(ValueError, match=message):
            performance_map(Ruled(), store, examples, positions, size)

    fails("no rows to take slices from", examples.of([]))
    fails("positions are a row of shares", positions=[])
    fails("positions are a row of shares", positions=0.5)
    fails("positions are shares: give numbers from 0 to 1", positions=[2])
    fails("has 100 weights, fewer than a slice of 101", size=101)
    with pytest.raises(ValueError, match="no maps to pool"):
        pooled([])
    one = performance_map(Ruled(), store, examples, POSITIONS, 10)
    for other in (
        {"size": 11}, {"part": "fc"}, {"positions": POSITIONS / 2},
        {"snapshots": np.arange(3)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="cannot be pooled: make all of them"):
            pooled([one, dataclasses.replace(one, **other)])
