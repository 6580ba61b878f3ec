import warnings

import numpy as np
import pytest
import torch
from torch import nn

from nwslib import drift
from nwslib.drift import MEMORY, movement
from nwslib.flatten import Layout
from nwslib.monitor import AlarmRules, rule_scores
from nwslib.outliers import robust_score
from nwslib.trajectory import geometry_by_group

NET = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3, bias=False))
LAYOUT = Layout.of(NET)  # 24 + 12 weights
SIGNALS = ("step", "turning", "pull", "novelty")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def walks(rng, models=4, checkpoints=30, size=LAYOUT.size):
    return rng.normal(size=(models, checkpoints, size)).cumsum(1) + 3


def test_lengths_and_turns_are_the_geometry_modules(rng):
    path = walks(rng)
    moved, shapes = movement(path, LAYOUT), geometry_by_group(path, LAYOUT)
    np.testing.assert_allclose(moved.step, shapes["whole"].step)
    assert np.isnan(moved.turning[:, 0]).all()
    np.testing.assert_allclose(moved.turning[:, 1:], shapes["whole"].turning)
    assert moved.layer_step.shape == (4, 2, 29)
    for i, name in enumerate(LAYOUT.layers):
        np.testing.assert_allclose(moved.layer_step[:, i], shapes[f"layer:{name}"].step)


def test_novelty_is_the_angle_to_the_least_squares_fit(rng):
    path = walks(rng, models=2)
    moved = movement(path, LAYOUT)
    moves = np.diff(path, axis=1)
    assert np.isnan(moved.novelty[:, :MEMORY]).all()
    for model in range(2):
        for i in range(MEMORY, moves.shape[1]):
            past, new = moves[model, i - MEMORY : i].T, moves[model, i]
            fit = past @ np.linalg.lstsq(past, new, rcond=None)[0]
            angle = np.arctan2(np.linalg.norm(new - fit), np.linalg.norm(fit))
            np.testing.assert_allclose(moved.novelty[model, i], angle)


def test_nothing_is_new_in_a_plane_and_all_is_at_right_angles_to_it():
    turn = np.arange(MEMORY + 3)
    path = np.zeros((1, MEMORY + 4, LAYOUT.size))
    path[0, 1:, 0], path[0, 1:, 1] = np.cos(turn).cumsum(), np.sin(turn).cumsum()
    path[0, :, 2] = 1
    path[0, -1] = path[0, -2]
    path[0, -1, 7] = 5.0  # a step along an axis of its own
    novelty = movement(path, LAYOUT).novelty[0]
    np.testing.assert_allclose(novelty[MEMORY:-1], 0, atol=1e-6)
    np.testing.assert_allclose(novelty[-1], np.pi / 2)


def test_pull_is_zero_outwards_and_pi_inwards():
    point = np.arange(1.0, LAYOUT.size + 1)
    side = np.zeros(LAYOUT.size)
    side[:2] = 2 * point[1], -2 * point[0]  # at right angles to the point
    path = np.stack([point, 2 * point, point, point + side])[None]
    pull = movement(path, LAYOUT).pull[0]
    np.testing.assert_allclose(pull, [0, np.pi, np.pi / 2], atol=1e-7)


def test_a_step_of_no_length_has_no_angles_and_warns_of_nothing(rng):
    path = walks(rng, models=1)
    path[:, 20] = path[:, 19]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved = movement(path, LAYOUT)
    undefined = [np.flatnonzero(np.isnan(getattr(moved, s)[0])) for s in SIGNALS]
    np.testing.assert_array_equal(undefined[0], [])
    np.testing.assert_array_equal(undefined[1], [0, 19, 20])
    np.testing.assert_array_equal(undefined[2], [19])
    np.testing.assert_array_equal(undefined[3], [*range(MEMORY), 19])


@pytest.mark.parametrize("shape", [(2, 9, 35), (9, 36), (2, 1, 36)])
def test_paths_that_cannot_be_measured(shape):
    with pytest.raises(ValueError, match=r"pass \[models, checkpoints, 36\] with"):
        movement(np.zeros(shape), LAYOUT)


def test_own_past_holds_the_monitors_rules_and_two_more(rng):
    moved, rules = (
        movement(walks(rng), LAYOUT),
        AlarmRules(window=12, least=5, floor=0.02),
    )
    scores = drift.own_past(moved, rules)
    monitor = rule_scores(moved.step, moved.turning, moved.layer_step, rules)
    assert set(scores) == {*monitor, "pull", "novelty"}
    for name, values in monitor.items():
        np.testing.assert_array_equal(scores[name], values)
    i = 25
    for name, sign in (("pull", np.abs), ("novelty", lambda score: score)):
        series = getattr(moved, name)
        expected = robust_score(
            series[:, i], series[:, i - 12 : i], least=5, floor=0.02
        )
        np.testing.assert_allclose(scores[name][:, i], sign(expected))


def test_default_rules_are_the_monitors(rng):
    moved = movement(walks(rng), LAYOUT)
    given = drift.own_past(moved, AlarmRules())
    for name, values in drift.own_past(moved).items():
        np.testing.assert_array_equal(values, given[name])


def test_a_change_of_direction_shows_in_novelty_not_in_length(rng):
    axes = np.linalg.qr(rng.normal(size=(LAYOUT.size, 7)))[0].T
    moves = rng.normal(size=(1, 40, 6)) @ axes[:6]  # in six dimensions
    moves[:, 35] = axes[6] * np.linalg.norm(moves[:, 34])
    path = np.concatenate([np.full((1, 1, LAYOUT.size), 0.1), moves], 1).cumsum(1)
    scores = drift.own_past(movement(path, LAYOUT))
    assert scores["novelty"][0, 35] > 20
    assert scores["novelty"][0, 25:35].max() < 5
    assert scores["jump"][0, 35] < 5


def test_highest_of_those_known():
    scores = {"a": np.array([1.0, np.nan, 3.0]), "b": np.array([2.0, 5.0, np.nan])}
    np.testing.assert_array_equal(drift.highest(scores), [2, 5, 3])
    del scores["b"]
    np.testing.assert_array_equal(drift.highest(scores), [1, np.nan, 3])


def test_a_jump_needs_a_witness():
    steps = {  # one that is only long, only new, both; the others differ in kind
        "jump": [9, 0, 9, 9, 9, 9, np.nan, 9],
        "turn": [0, 0, 0, -7, 7, 0, 8, np.nan],
        "balance": [1, 1, 1, 1, 1, 6, 1, np.nan],
        "pull": [0, 0, 0, 0, 0, 0, 0, np.nan],
        "novelty": [-3, 8, 8, 0, 0, 0, np.nan, np.nan],
    }
    score = drift.confirmed_jump({k: np.array(v, float) for k, v in steps.items()})
    np.testing.assert_array_equal(score, [1, 0, 8, 7, 7, 6, np.nan, np.nan])


def test_a_longer_step_of_the_same_kind_is_no_confirmed_jump(rng):
    axes = np.linalg.qr(rng.normal(size=(LAYOUT.size, 6)))[0].T
    moves = rng.normal(size=(1, 40, 6)) @ axes
    moves[:, 35] *= 10
    path = np.concatenate([np.full((1, 1, LAYOUT.size), 9.0), moves], 1).cumsum(1)
    scores = drift.own_past(movement(path, LAYOUT))
    assert scores["jump"][0, 35] > 4
    assert drift.confirmed_jump(scores)[0, 35] < 4


def test_deviations_are_from_the_median_of_the_past(rng):
    moved = movement(walks(rng), LAYOUT)
    found = drift.deviations(moved, window=7)
    assert found.shape == (4, 29, 4 + 2)
    assert np.isnan(found[:, : MEMORY + 1]).all()
    assert not np.isnan(found[:, MEMORY + 1 :]).any()
    i = 20
    shares = np.log(moved.layer_step / moved.step[:, None])
    for place, series in enumerate(
        [np.log(moved.step), moved.turning, moved.pull, moved.novelty,
         shares[:, 0], shares[:, 1]]
    ):  # fmt: skip
        expected = series[:, i] - np.median(series[:, i - 7 : i], axis=1)
        np.testing.assert_allclose(found[:, i, place], expected)


def test_deviations_do_not_see_a_longer_net(rng):
    path = walks(rng)
    one, other = (drift.deviations(movement(f * path, LAYOUT)) for f in (1, 50))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_accuracy_drops_are_scored_downwards(rng):
    accuracy = 0.9 + rng.normal(scale=0.004, size=30)
    accuracy[20], accuracy[25] = 0.8, 0.97
    scores = drift.accuracy_drop(accuracy[None])
    assert scores.shape == (1, 29)
    assert scores[0, 19] > 20  # the step that leads to checkpoint 20
    assert scores[0, 24] < -10
    assert np.abs(np.delete(scores[0, 10:], [9, 14])).max() < 5


def test_weights_may_be_float32_tensors(rng):
    path = walks(rng, models=1).astype(np.float32)
    one = movement(path, LAYOUT)
    other = movement(torch.from_numpy(path), LAYOUT)
    for name in SIGNALS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == np.float64
