import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from nwslib.meta.protocol import (
    Examples,
    Split,
    by_snapshot,
    judge,
    labelled,
    p_above_zero,
    rounds,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def table(counts):
    """Nets with ids that are no positions, mixed, so many of each class."""
    values = np.repeat(list(counts), list(counts.values()))
    order = np.random.default_rng(1).permutation(len(values))
    return pd.DataFrame(
        {"run": 1000 - 3 * np.arange(len(values)), "init": values[order]}
    )


def nearest(examples, seed):
    return KNeighborsClassifier(1).fit(examples.features, examples.labels)


# Examples


def test_rows_are_picked_with_their_labels_and_runs():
    examples = Examples(
        np.arange(8).reshape(4, 2), np.array(list("aabb")), np.array([5, 5, 7, 9])
    )
    examples = examples.where(np.array([0, 2, 3]))
    assert len(examples) == 3
    some = examples.of([9, 5])
    assert some.features.tolist() == [[0, 1], [6, 7]]
    assert (some.labels.tolist(), some.runs.tolist()) == (["a", "b"], [5, 9])


@pytest.mark.parametrize(("labels", "runs"), [(3, 4), (4, 5)])
def test_rows_labels_and_runs_must_be_as_many(labels, runs):
    with pytest.raises(
        ValueError, match=f"4 rows of features, {labels} labels and {runs} run ids"
    ):
        Examples(np.zeros((4, 2)), np.zeros(labels), np.zeros(runs))


def test_rows_are_labelled_by_their_nets():
    runs = table({"a": 2, "b": 2})
    index = pd.DataFrame({"run": [994, 1000, 994], "snapshot": [0, 0, 1]})
    examples = labelled(np.zeros((3, 2)), index, runs, "init")
    value = dict(zip(runs["run"], runs["init"], strict=True))
    assert examples.labels.tolist() == [value[994], value[1000], value[994]]
    assert examples.runs.tolist() == [994, 1000, 994]


# rounds


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(2, 12), min_size=2, max_size=4),
    seed=st.integers(0, 5),
    share=st.sampled_from([0.1, 1 / 3, 0.6]),
)
def test_rounds_are_balanced_and_keep_nets_apart(counts, seed, share):
    runs = table(dict(zip("abcd", counts, strict=False)))
    value = dict(zip(runs["run"], runs["init"], strict=True))
    n_test = max(1, round(share * min(counts)))
    splits = rounds(runs, "init", 3, share, seed)
    assert len(splits) == 3
    for split in splits:
        nets = np.concatenate([split.train, split.test])
        assert len(set(nets)) == len(nets) == min(counts) * len(counts)
        for part, size in ((split.train, min(counts) - n_test), (split.test, n_test)):
            assert pd.Series([value[i] for i in part]).value_counts().to_dict() == (
                dict.fromkeys("abcd"[: len(counts)], size)
            )


def test_a_round_depends_on_the_seed_and_its_number_only():
    runs = table({"a": 9, "b": 14})
    few, many, other = (
        [np.concatenate([s.train, s.test]) for s in rounds(runs, "init", n, seed=seed)]
        for n, seed in ((2, 4), (6, 4), (2, 5))
    )
    np.testing.assert_array_equal(few, many[:2])
    assert len({tuple(nets) for nets in [*many, *other]}) == 8


def test_every_net_has_its_turn():
    # of the larger class other nets in every round, and every net is tested once
    runs = table({"a": 6, "b": 30})
    splits = rounds(runs, "init", 40)
    assert set(np.concatenate([s.test for s in splits])) == set(runs["run"])


def test_rounds_need_classes_with_nets():
    with pytest.raises(ValueError, match="all 5 nets have one init: there is nothing"):
        rounds(table({"a": 5}), "init")
    with pytest.raises(ValueError, match="only 1 nets have init b: each class needs"):
        rounds(table({"a": 5, "b": 1}), "init")


# by_snapshot


def test_divided_by_snapshot_nets_give_themselves_away(rng):
    # 400 nets of 6 snapshots each; features say which net it is, nothing of its label
    run = np.repeat(np.arange(400), 6)
    features = rng.normal(size=(400, 3))[run] + 0.001 * rng.normal(size=(2400, 3))
    examples = Examples(features, run % 2, run)
    train, test = by_snapshot(examples)
    assert (len(train), len(test)) == (1600, 800)
    both = np.concatenate([train.features, test.features])
    assert len(np.unique(both, axis=0)) == 2400
    leaked = np.mean(nearest(train, 0).predict(test.features) == test.labels)
    assert leaked > 0.98
    runs = pd.DataFrame({"run": np.arange(400), "init": np.arange(400) % 2})
    judged = judge(nearest, examples, rounds(runs, "init", 5))
    assert abs(judged.mean - 0.5) < 0.1  # four standard deviations of 400 guesses
    assert judged.p_chance > 0.05


# judge


class Always:
    def __init__(self, label):
        self.label = label

    def predict(self, features):
        return np.full(len(features), self.label)


def test_a_trainer_is_shown_the_training_nets_of_its_round():
    runs = table({"a": 6, "b": 8})
    examples = Examples(
        np.zeros((14, 1)), runs["init"].to_numpy(), runs["run"].to_numpy()
    )
    splits, shown = rounds(runs, "init", 3), []

    def train(seen, seed):
        shown.append((seed, seen))
        return Always("b")

    judged = judge(train, examples, splits, seed=7)
    assert [seed for seed, _ in shown] == [7, 8, 9]
    for split, (_, seen) in zip(splits, shown, strict=True):
        assert sorted(seen.runs) == sorted(split.train)
    assert judged.accuracies.tolist() == [0.5] * 3
    assert judged.confusion.tolist() == [[0, 6], [0, 6]]
    assert judged.classes.tolist() == ["a", "b"]
    assert (judged.n_train, judged.n_test) == (8, 4)
    assert (judged.mean, judged.std, judged.chance) == (0.5, 0, 0.5)
    assert judged.p_chance == 0.5


def test_the_best_possible_and_its_numbers(rng):
    runs = table({32: 9, 64: 9, 128: 9})
    examples = labelled(
        runs[["init"]].to_numpy() + rng.normal(size=(27, 1)), runs, runs, "init"
    )
    judged = judge(nearest, examples, rounds(runs, "init", 4))
    assert judged.confusion.tolist() == np.diag([12] * 3).tolist()
    assert (judged.mean, judged.chance, judged.p_chance) == (1, 1 / 3, 0)


def test_mean_spread_and_chance_are_those_of_the_rounds(rng):
    runs = table({"a": 12, "b": 12})
    examples = labelled(rng.normal(size=(24, 2)), runs, runs, "init")
    judged = judge(nearest, examples, rounds(runs, "init", 5))
    a = judged.accuracies
    assert judged.mean == pytest.approx(sum(a) / 5)
    assert judged.std == pytest.approx((sum((a - a.mean()) ** 2) / 4) ** 0.5)
    assert judged.p_chance == p_above_zero(a - 0.5, judged.n_train, judged.n_test)
    assert np.trace(judged.confusion) / judged.confusion.sum() == judged.mean


@pytest.mark.slow
def test_rounds_in_processes_of_their_own_are_the_same(rng):
    runs = table({"a": 12, "b": 12})
    examples = labelled(rng.normal(size=(24, 3)), runs, runs, "init")
    alone, apart = (
        judge(nearest, examples, rounds(runs, "init", 3), jobs=jobs) for jobs in (1, 2)
    )
    assert alone.accuracies.tolist() == apart.accuracies.tolist()
    assert alone.confusion.tolist() == apart.confusion.tolist()


def test_nets_without_features_are_named():
    examples = Examples(np.zeros((2, 1)), np.array(["a", "b"]), np.array([3, 4]))
    with pytest.raises(
        ValueError,
        match="2 nets of the rounds have no row of features, run 8",
    ):
        judge(nearest, examples, [Split(np.array([3, 8]), np.array([4, 9]))])


# p_above_zero


def test_the_corrected_test_by_hand():
    # mean 0.2, variance 0.01, 3 rounds, half as many test as training nets
    statistic = 0.2 / (0.01 * (1 / 3 + 1 / 2)) ** 0.5
    # Student's t with two degrees of freedom has a closed form
    by_hand = 0.5 - statistic / (2 * (2 + statistic**2) ** 0.5)
    assert p_above_zero([0.1, 0.2, 0.3], 200, 100) == pytest.approx(by_hand)
    assert p_above_zero([-0.1, -0.2, -0.3], 200, 100) == pytest.approx(1 - by_hand)


@pytest.mark.parametrize(("value", "p"), [(0.0, 0.5), (0.2, 0.0), (-0.2, 1.0)])
def test_equal_differences_leave_no_doubt(value, p):
    assert p_above_zero([value] * 4, 20, 10) == p


def test_p_is_uniform_where_rounds_are_as_alike_as_assumed(rng):
    # the correction's own model: correlation n_test / (n_train + n_test) = 1/3
    shared, own = rng.normal(size=(3000, 1)), rng.normal(size=(3000, 10))
    differences = np.sqrt(1 / 3) * shared + np.sqrt(2 / 3) * own
    p = [p_above_zero(d, 200, 100) for d in differences]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    plain = stats.ttest_1samp(differences, 0, axis=1, alternative="greater").pvalue
    assert np.mean(plain < 0.05) > 0.2  # what the correction is for


def test_noise_is_seldom_found_better_than_chance():
    # labels at random, ten rounds over the same nets: at most one in ten under 0.05
    found = []
    runs = pd.DataFrame({"run": np.arange(36), "init": np.arange(36) % 2})
    splits = rounds(runs, "init", 10)
    for number in range(150):
        noise = np.random.default_rng(number).normal(size=(36, 2))
        examples = labelled(noise, runs, runs, "init")
        found.append(judge(OneNearest, examples, splits).p_chance)
    assert np.mean(np.array(found) < 0.05) < 0.1
    assert 0.35 < np.mean(found) < 0.65


class OneNearest:
    """As nearest, without scikit-learn's checks, which are most of its time."""

    def __init__(self, examples, seed):
        self.known = examples

    def predict(self, features):
        distances = ((features[:, None] - self.known.features) ** 2).sum(-1)
        return self.known.labels[distances.argmin(1)]
