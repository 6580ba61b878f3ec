import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import auc, roc_auc_score

from nwslib import detection
from nwslib.detection import run_auc
from nwslib.progress import Estimate

few_scores = arrays(np.int64, (6, 3), elements=st.integers(0, 4))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def truth(changed, unchanged):
    return np.repeat([1, 0], [len(changed), len(unchanged)])


@given(changed=few_scores, unchanged=few_scores)
def test_the_area_is_that_of_the_runs_highest_scores(changed, unchanged):
    area = run_auc(changed, unchanged)
    runs = np.concatenate([changed.max(1), unchanged.max(1)])
    expected = roc_auc_score(truth(changed, unchanged), runs)
    assert area.value == pytest.approx(expected)
    assert 0 <= area.low <= area.high <= 1
    false, true = detection.run_roc(changed, unchanged)
    assert auc(false, true) == pytest.approx(expected)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_the_interval_is_the_bootstraps_over_nets(rng):
    # a net's own level is in both of its runs: pairs must stay together
    level = rng.normal(scale=3, size=(60, 1))
    changed = level + 0.5 + rng.normal(size=(60, 4))
    unchanged = level + rng.normal(size=(60, 4))
    area = run_auc(changed, unchanged)
    values = []
    for _ in range(4000):
        nets = rng.integers(60, size=60)
        a, b = changed[nets].max(1), unchanged[nets].max(1)
        values.append((a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean())
    low, high = np.quantile(values, [0.025, 0.975])
    assert abs(area.low - low) < 0.01 and abs(area.high - high) < 0.01
    assert area == run_auc(changed, unchanged)


@pytest.mark.parametrize(("shift", "value"), [(9.0, 1.0), (0.0, 0.5), (-9.0, 0.0)])
def test_areas_without_doubt(shift, value, rng):
    scores = rng.random((10, 3))
    area = run_auc(scores + shift, scores)
    assert area.value == value
    if shift:
        assert area == Estimate(value, value, value)


def test_unpaired_runs_are_refused(rng):
    with pytest.raises(ValueError, match="10 changed and 9 unchanged runs: pass one"):
        run_auc(rng.random((10, 3)), rng.random((9, 3)))


def test_the_lowest_area_is_over_nets_and_changes():
    def rows(**areas):
        return {"auc": {k: {"step": [v, 0.0, 1.0]} for k, v in areas.items()}}

    numbers = {"A1": rows(turned=0.9, noisy=0.7), "A2": rows(turned=0.8)}
    assert detection.lowest_area(numbers, "step", ["turned"]) == 0.8
    assert detection.lowest_area(numbers, "step", iter(["turned", "noisy"])) == 0.7
    assert detection.lowest_area(numbers, "step", ["none"]) is None
    assert detection.lowest_area({}, "step", ["turned"]) is None


def test_folds_are_even_and_mixed():
    fold = detection.folds(52, 5, seed=1)
    assert sorted(np.bincount(fold)) == [10, 10, 10, 11, 11]
    assert not np.array_equal(fold, np.arange(52) % 5)
    np.testing.assert_array_equal(fold, detection.folds(52, 5, seed=1))


def test_no_net_is_scored_by_what_was_learned_from_itself(rng):
    fold = detection.folds(20)
    cases = {"a": rng.random((20, 3, 2)), "b": rng.random((20, 1, 2))}
    numbers = np.arange(20.0)
    met = []

    def fit(nets):
        learned_from = set(numbers[nets])

        def score(features):
            rows = [np.flatnonzero((cases["a"][:, 0] == f).all(1)) for f in
                    features[:, 0]] if features.shape[1] == 3 else []  # fmt: skip
            met.extend((learned_from, int(row[0])) for row in rows)
            return features.sum(-1)

        return score

    scores = detection.cross_fitted(fit, cases, fold)
    assert len(met) == 20
    assert all(net not in learned_from for learned_from, net in met)
    assert all(len(learned_from) == 16 for learned_from, _ in met)
    for name, case in cases.items():
        np.testing.assert_allclose(scores[name], case.sum(-1))


def test_a_limit_comes_from_the_other_folds(rng):
    fold = np.array([0, 0, 1, 1, 1])
    unchanged = np.array([[1, 2], [4, 3], [10, 0], [20, 0], [30, 0.0]])
    limit = detection.limits(unchanged, fold, rate=0.5)
    np.testing.assert_array_equal(limit, [20, 20, 3, 3, 3])


def test_limits_keep_their_rate(rng):
    scores, fresh = rng.normal(size=(2, 2000, 5))
    limit = detection.limits(scores, detection.folds(2000), rate=0.05)
    assert abs(detection.alarms(fresh, limit).share - 0.05) < 0.015


def test_alarms_count_runs_and_the_checkpoints_until_then():
    scores = np.array([[0, 5, 5], [0, 0, 0], [0, 0, 9], [7, 0, 0], [0, 0, 8]])
    found = detection.alarms(scores, 4)
    assert found.share == 0.8
    assert found.delay == 2.5  # of 2, 3, 1, 3
    own_limits = detection.alarms(scores, [6, 6, 10, 6, 6])
    assert own_limits.share == 0.4 and own_limits.delay == 2
    none = detection.alarms(scores, 100)
    assert none.share == 0 and np.isnan(none.delay)


def test_a_score_at_the_limit_is_no_alarm():
    assert detection.alarms(np.array([[4.0]]), 4.0).share == 0


def test_reference_is_a_mahalanobis_distance(rng):
    mix = np.array([[3.0, 1.0], [0.0, 0.2]])
    normal = rng.normal(size=(2000, 4, 2)) @ mix + [5, -1]
    score = detection.reference(normal)
    at = rng.normal(size=(3, 2, 2)) @ mix * 3 + [5, -1]
    scores = score(at)
    assert scores.shape == (3, 2)
    away = (at - [5, -1]).reshape(-1, 2)
    exact = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(mix.T @ mix), away))
    np.testing.assert_allclose(scores.ravel(), exact, rtol=0.05)
    assert score(np.full((1, 1, 2), [5, -1]))[0, 0] < 0.1


def test_learned_tells_what_it_has_seen_and_repeats_itself(rng):
    unchanged = [rng.normal(size=(30, 1, 3)) for _ in range(3)]
    changed = [rng.normal(size=(30, 2, 3)) + [6, 0, 0]]
    score = detection.learned(unchanged, changed)
    new = rng.normal(size=(20, 5, 3))
    assert score(new).shape == (20, 5)
    assert score(new).max() < 0.5 < score(new + [6, 0, 0]).min()
    again = detection.learned(unchanged, changed)
    np.testing.assert_array_equal(score(new), again(new))
