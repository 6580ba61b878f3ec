import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from nwslib import progress
from nwslib.flatten import Layout
from nwslib.nets import A1, A2
from nwslib.progress import (
    LENGTHS,
    QUANTITIES,
    Estimate,
    across,
    ideal_paths,
    logged,
    mean_over_nets,
    others_mean,
    over_nets,
    trace,
    traces,
    within,
    without_time,
)
from nwslib.trajectory import PathFollower, path_geometry


def walk(n=12, d=30, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).cumsum(axis=0)


# --- traces -----------------------------------------------------------------


def test_a_corner():
    traced = trace([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]], window=2)
    nan = np.nan
    for name, values in {
        "step": [nan, 3, 4],
        "turning": [nan, nan, math.pi / 2],
        "curvature": [nan, nan, math.pi / 2 / 3.5],
        "smoothness": [nan, nan, 0],
        "straightness": [nan, 1, 5 / 7],
        "travelled": [0, 3, 7],
        "from_start": [0, 3, 5],
        "dimension": [nan, 1, 1],
    }.items():
        np.testing.assert_allclose(traced[name], values, atol=1e-12)
    assert tuple(traced) == QUANTITIES


def test_the_past_alone_decides():
    path, window = walk(), 4
    whole = trace(path, window)
    for n in range(1, len(path) + 1):
        so_far = trace(path[:n], window)
        for name in QUANTITIES:
            np.testing.assert_allclose(
                so_far[name], whole[name][:n], rtol=1e-9, err_msg=name
            )


def test_a_follower_sees_the_same_to_float32():
    layout = Layout.of(A2())
    paths = np.random.default_rng(1).normal(size=(2, 7, layout.size)).cumsum(axis=1)
    paths = paths.astype(np.float32)
    traced = traces(paths, layout)
    for net, path in enumerate(paths):
        follower = PathFollower(layout)
        for epoch, weights in enumerate(path):
            positions = follower.add(torch.from_numpy(weights))
            for part, shape in traced.items():
                seen = vars(positions[part])
                for name, value in seen.items():
                    np.testing.assert_allclose(
                        shape[name][net, epoch], value, rtol=1e-5
                    )


@given(st.integers(2, 6), st.integers(1, 9), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_dimension_is_that_of_each_window(window, n, d, seed):
    path = walk(n, d, seed)
    expected = np.full(n, np.nan)
    for end in range(window, n + 1):
        expected[end - 1] = path_geometry(path[end - window : end]).dimension
    np.testing.assert_allclose(trace(path, window)["dimension"], expected, rtol=1e-7)


def test_a_net_that_stands_still_has_no_angle():
    traced = trace(np.ones((6, 3)), window=2)
    assert (traced["travelled"] == 0).all()
    for name in ("turning", "curvature", "smoothness", "straightness", "dimension"):
        assert np.isnan(traced[name]).all(), name


def test_traces_name_layers_but_not_an_only_kind():
    layout = Layout.of(A1())
    paths = np.random.default_rng(0).normal(size=(3, 6, layout.size))
    traced = traces(iter(paths), layout)
    assert list(traced) == ["whole", "layer:fc1", "layer:fc2", "layer:fc3"]
    assert {values.shape for part in traced.values() for values in part.values()} == {
        (3, 6)
    }
    fc2 = path_geometry(paths[1][:, 1960:2060])
    np.testing.assert_allclose(traced["layer:fc2"]["step"][1, 1:], fc2.step)
    squares = sum(traced[part]["step"] ** 2 for part in list(traced)[1:])
    np.testing.assert_allclose(traced["whole"]["step"] ** 2, squares)


def test_ideal_paths_are_limits_in_many_dimensions():
    n, d = 30, 20_000
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(n, d))
    for name, path in {
        "random walk": noise.cumsum(axis=0), "noise about a point": noise
    }.items():  # fmt: skip
        ideal, found = trace(ideal_paths(n)[name]), trace(path)
        for quantity in ("turning", "smoothness", "straightness", "dimension"):
            np.testing.assert_allclose(ideal[quantity], found[quantity], atol=0.05)
    walked, shaken = (trace(path) for path in ideal_paths(n).values())
    np.testing.assert_allclose(np.degrees(walked["turning"][2:]), 90)
    np.testing.assert_allclose(np.degrees(shaken["turning"][2:]), 120)
    np.testing.assert_allclose(shaken["dimension"][4:], 4)
    long = path_geometry(ideal_paths(500)["random walk"]).dimension
    assert long == pytest.approx(2.5, abs=0.01)  # Antognini & Sohl-Dickstein


def test_only_lengths_are_logged():
    values = np.array([1.0, math.e, 0.0, np.nan])
    for name in QUANTITIES:
        expected = [0, 1, np.nan, np.nan] if name in LENGTHS else values
        np.testing.assert_allclose(logged(name, values), expected)


# --- estimates --------------------------------------------------------------


def test_estimates_read_well_and_know_their_sign():
    assert str(Estimate(0.617, 0.55, 0.684)) == "0.62 [0.55, 0.68]"
    assert str(Estimate(np.nan, np.nan, np.nan)) == "–"
    signs = [Estimate(0, *ends).sign for ends in [(0.1, 1), (-1, -0.1), (-1, 1)]]
    assert signs == [1, -1, 0]
    assert Estimate(np.nan, np.nan, np.nan).sign == 0


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [
        (found := mean_over_nets(rng.normal(size=40))).low <= 0 <= found.high
        for _ in range(150)
    ]
    assert 0.89 <= np.mean(held) <= 0.99


def test_equal_input_gives_equal_intervals():
    values = np.arange(9.0)
    assert mean_over_nets(values) == mean_over_nets(values)
    assert over_nets(lambda i: values[i].max(axis=-1), 9).value == 8


def test_draws_without_a_value_are_left_out():
    few = np.array([1.0, 2, 3])  # one draw in nine holds one net thrice
    found = across(few, few)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    none = across(few, np.ones(3))
    assert np.isnan([none.value, none.low, none.high]).all()


def test_mean_leaves_out_what_is_undefined():
    found = mean_over_nets([1, np.nan, 3])
    assert (found.value, found.low, found.high) == (2, 1, 3)
    alone = mean_over_nets([np.nan, 5])
    assert alone.value == 5 and math.isnan(alone.low)
    assert math.isnan(mean_over_nets([np.nan]).value)


# --- relations --------------------------------------------------------------


def test_others_mean_leaves_out_the_net_itself():
    values = np.array([[1.0, 10], [3, 20], [5, 60]])
    np.testing.assert_array_equal(others_mean(values), [[4, 40], [3, 35], [2, 15]])
    np.testing.assert_array_equal(without_time(values)[0], [-3, -30])


def test_within_is_the_mean_of_spearmans_coefficients():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 20)).round(1)  # with ties
    each = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    found = within(x, y)
    assert found.value == pytest.approx(np.mean(each))
    assert min(each) <= found.low < found.value < found.high <= max(each)


def test_within_leaves_out_nets_that_do_not_change():
    x = np.array([[1.0, 2, 3], [1, 2, 3], [4, 4, 4], [1, np.nan, 2]])
    y = np.array([[2.0, 3, 9], [9, 3, 1], [1, 2, 3], [1, 2, 3]])
    assert within(x, y).value == 0  # of 1 and -1


def test_a_shared_clock_vanishes_without_time():
    rng = np.random.default_rng(0)
    time = np.arange(30.0)
    x = time + rng.normal(size=(40, 30))
    y = time**2 + 20 * rng.normal(size=(40, 30))
    assert within(x, y).low > 0.8
    left = within(without_time(x), without_time(y))
    assert left.sign == 0 and abs(left.value) < 0.1


def test_a_relation_of_nets_remains_without_time():
    rng = np.random.default_rng(0)
    own = rng.normal(size=(40, 30)).cumsum(axis=1)
    assert within(without_time(own), without_time(np.arange(30) + own)).value > 0.9


def test_across_is_spearman_at_an_epoch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 25))
    y += x
    found = across(x, y)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert found.low < found.value < found.high <= 1
    both = across(np.stack([x, x], 1), np.stack([y, -y], 1))
    assert both.value == pytest.approx(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trace(np.eye(3), window=1), "a window of 1 has no dimension: give at"),
        (lambda: trace(np.zeros((0, 3))), r"a path of shape \[0, 3\] cannot be meas"),
        (lambda: traces([], Layout.of(A1())), "no paths to trace: pass at least one"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_window_is_the_modules():
    path = walk()
    np.testing.assert_array_equal(
        trace(path)["dimension"], trace(path, progress.WINDOW)["dimension"]
    )
    assert np.isnan(trace(path)["dimension"]).sum() == progress.WINDOW - 1
