"""Whole nets from slices: votes, and regions that are worth more than others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import log_softmax
from test_meta_dmc import planted

from nwslib.meta import dmc_many, whole_net
from nwslib.meta.dmc_classifier import Recipe
from nwslib.meta.dmc_training import train
from nwslib.meta.protocol import Examples
from nwslib.meta.whole_net import aggregate, out_of_fold, slice_scores, vote

BRIEF = Recipe(size=16, width=1 / 64, epochs=2, batch=16)


@pytest.fixture(scope="module")
def data():
    return planted(12, classes=("a", "b", "c"))


def test_scores_are_of_slices_in_order(data, monkeypatch):
    store, examples = data
    classifier = train(store, examples, dataclasses.replace(BRIEF, part="fc"))
    rows = [3, 0, 3, 7, 5]
    scores = slice_scores(classifier, store, rows, 4)
    assert scores.shape == (5, 4, 3)
    slices = store.grid(rows, [0, 1 / 3, 2 / 3, 1], 16, "fc")
    for k in range(4):
        expected = np.log(classifier.predict_proba(slices[:, k]))
        np.testing.assert_allclose(scores[:, k], expected, rtol=1e-5)
    monkeypatch.setattr(whole_net, "AT_ONCE", 3)  # a net at a time
    again = slice_scores(classifier, store, rows, 4)
    np.testing.assert_allclose(again, scores, rtol=1e-5)


def test_a_vote_is_the_geometric_mean():
    probability = np.random.default_rng(0).dirichlet([1, 1, 1], (5, 7))
    mean = np.prod(probability, axis=1) ** (1 / 7)
    expected = mean / mean.sum(1, keepdims=True)
    np.testing.assert_allclose(vote(np.log(probability)), expected)
    sure = np.full((1, 9, 2), -1e4)
    sure[:, :, 1] = 0
    np.testing.assert_allclose(vote(sure), [[0, 1]])


def test_no_slice_has_a_veto(data):
    class Sure:
        recipe = BRIEF

        def predict_proba(self, slices):
            return np.tile([1.0, 0.0], (len(slices), 1))

    scores = slice_scores(Sure(), data[0], [0, 1], 3)
    np.testing.assert_allclose(scores[..., 1], np.log(whole_net.LEAST))


def regional(n_runs=40, snapshots=2, slices=16, seed=0):
    """Scores that tell the class in the last quarter, and lie in the first half."""
    rng = np.random.default_rng(seed)
    runs = np.arange(n_runs).repeat(snapshots)
    labels = runs % 2
    signal = np.where(labels, 1.0, -1.0)[:, None]
    place = np.arange(slices)
    gain = np.where(place >= 12, 0.6, np.where(place < 8, -0.3, 0))
    logit = signal * gain + rng.normal(0, 0.7, (len(runs), slices))
    scores = log_softmax(np.stack([np.zeros_like(logit), logit], -1), axis=-1)
    return Examples(scores, np.array(["a", "b"])[labels], runs)


def test_regions_that_tell_more_count_more():
    fitted, new = aggregate(regional(), 4), regional(seed=1)
    by_vote = np.array(["a", "b"])[vote(new.features).argmax(1)]
    assert np.mean(by_vote == new.labels) < 0.65
    assert np.mean(fitted.predict(new.features) == new.labels) > 0.9
    probability = fitted.predict_proba(new.features)
    np.testing.assert_allclose(probability.sum(1), 1)
    assert fitted.classes_.tolist() == ["a", "b"]
    most = fitted.classes_[probability.argmax(1)]
    np.testing.assert_array_equal(most, fitted.predict(new.features))
    more = aggregate(regional(), 99)  # a slice a region
    assert more.predict(new.features).shape == (80,)


def test_each_net_is_scored_by_a_classifier_that_has_not_seen_it(data, monkeypatch):
    store, examples = data
    examples = examples.where(np.random.default_rng(0).permutation(len(examples)))
    trained, seen = [], []
    train_one, scored = dmc_many.train, whole_net.slice_scores

    def noted(store, examples, *args, **options):
        trained.append(set(examples.runs))
        return train_one(store, examples, *args, **options)

    def looked(classifier, store, rows, n_slices):
        seen.append(set(store.index["run"].iloc[rows]))
        return scored(classifier, store, rows, n_slices)

    monkeypatch.setattr(dmc_many, "train", noted)
    monkeypatch.setattr(whole_net, "slice_scores", looked)
    found = out_of_fold(store, examples, BRIEF, n_slices=5, n_folds=2, workers=1)
    assert len(trained) == len(seen) == 2
    for known, new in zip(trained, seen, strict=True):
        assert known | new == set(range(12)) and not known & new
    assert found.features.shape == (24, 5, 3)
    np.testing.assert_allclose(np.exp(found.features).sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.labels, examples.labels)
    assert aggregate(found).predict(found.features).shape == (24,)


def test_errors(data):
    store, examples = data

    def fails(message, call):
        with pytest.raises(ValueError, match=message):
            call()

    classifier = train(store, examples, BRIEF)
    fails("n_slices is 0", lambda: slice_scores(classifier, store, [0], 0))
    fails("no rows to take", lambda: slice_scores(classifier, store, [], 2))
    fails("n_regions is 0", lambda: aggregate(regional(), 0))
    flat = dataclasses.replace(regional(), features=np.zeros((80, 3)))
    fails("scores have shape \\[80, 3\\]: give", lambda: aggregate(flat))
    single = examples.where((examples.labels != "c") | (examples.runs == 2))
    fails("one training net only", lambda: out_of_fold(store, single, BRIEF))
