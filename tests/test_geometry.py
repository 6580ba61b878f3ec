import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.decomposition import PCA
from torch import nn

from nwslib.flatten import Layout
from nwslib.trajectory import (
    PathFollower,
    geometry_by_group,
    groups,
    path_geometry,
)

SMALL = st.floats(-100, 100, allow_subnormal=False).map(lambda x: round(x, 3))
PATHS = hnp.arrays(
    float, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=SMALL
)


def random_walk(n=20, d=30, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).cumsum(axis=0)


# --- closed forms -----------------------------------------------------------


def test_a_corner():
    shape = path_geometry([[0, 0], [3, 0], [3, 4]])
    assert shape.step.tolist() == [3, 4]
    assert shape.travelled.tolist() == [0, 3, 7]
    assert shape.from_start.tolist() == [0, 3, 5]
    assert shape.to_end.tolist() == [5, 4, 0]
    assert shape.turning == pytest.approx([math.pi / 2])
    assert shape.curvature == pytest.approx([math.pi / 2 / 3.5])
    assert shape.smoothness == pytest.approx(0, abs=1e-12)
    assert shape.straightness == pytest.approx(5 / 7)


def test_a_line_is_smooth_straight_and_one_dimensional():
    shape = path_geometry(np.outer([0, 5, 7, 8, 8.5], [1, -2, 2]))
    assert shape.step == pytest.approx([15, 6, 3, 1.5])
    assert shape.turning == pytest.approx([0, 0, 0], abs=1e-7)
    assert shape.smoothness == pytest.approx(1)
    assert shape.straightness == pytest.approx(1)
    assert shape.dimension == pytest.approx(1)


def test_there_and_back():
    shape = path_geometry([[0.0], [1.0], [0.0]])
    assert shape.turning == pytest.approx([math.pi])
    assert shape.smoothness == pytest.approx(-1)
    assert shape.straightness == 0


def test_curvature_of_a_circle_is_one_over_its_radius():
    at = np.linspace(0, 1, 1000)
    circle = 5 * np.stack([np.cos(at), np.sin(at)], axis=1)
    assert path_geometry(circle).curvature == pytest.approx(1 / 5, rel=1e-5)


def test_small_angles_keep_their_digits():
    angle = 1e-6
    path = [[0, 0], [1, 0], [1 + math.cos(angle), math.sin(angle)]]
    assert path_geometry(path).turning[0] == pytest.approx(angle, rel=1e-3)


def test_unrelated_points_span_all_dimensions():
    assert path_geometry(np.eye(6)).dimension == pytest.approx(5)


def test_random_walks_are_as_documented():
    shape = path_geometry(random_walk(n=400, d=20_000))
    assert shape.turning.mean() == pytest.approx(math.pi / 2, abs=0.01)
    assert shape.smoothness == pytest.approx(0, abs=0.01)
    assert shape.dimension == pytest.approx(2.5, abs=0.1)


# --- what must hold for every path -------------------------------------------


@settings(deadline=None)
@given(PATHS)
def test_bounds(path):
    shape = path_geometry(path)
    n = len(path)
    assert shape.step.shape == (n - 1,) and shape.turning.shape == (max(n - 2, 0),)
    assert (shape.from_start <= shape.travelled * (1 + 1e-12) + 1e-9).all()
    turning = shape.turning[~np.isnan(shape.turning)]
    assert ((turning >= 0) & (turning <= math.pi)).all()
    assert math.isnan(shape.straightness) == (shape.travelled[-1] == 0)
    if not math.isnan(shape.straightness):
        assert 0 <= shape.straightness <= 1 + 1e-12
    if not math.isnan(shape.dimension):
        assert 1 - 1e-9 <= shape.dimension <= max(1, min(n - 1, path.shape[1])) + 1e-6


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_rotation_shift_and_scale(seed, scale):
    path = random_walk(n=6, d=4, seed=seed)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    before, after = (
        path_geometry(path),
        path_geometry(scale * path @ turn + rng.normal()),
    )
    for name in ("turning", "smoothness", "straightness", "dimension"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), 1e-6)
    for name in ("step", "travelled", "from_start", "to_end"):
        np.testing.assert_allclose(
            getattr(after, name), scale * getattr(before, name), 1e-9, atol=1e-9 * scale
        )
    np.testing.assert_allclose(after.curvature, before.curvature / scale, 1e-6)


def test_dimension_is_that_of_the_covariance():
    path = random_walk()
    variances = PCA().fit(path).explained_variance_
    expected = variances.sum() ** 2 / (variances**2).sum()
    assert path_geometry(path).dimension == pytest.approx(expected)


def test_leading_axes_are_measured_one_by_one():
    paths = np.stack([random_walk(seed=k) for k in range(6)]).astype(np.float32)
    together = path_geometry(paths.reshape(2, 3, 20, 30))
    assert together.turning.shape == (2, 3, 18) and together.dimension.shape == (2, 3)
    for k, path in enumerate(paths):
        alone = path_geometry(path)
        for name, value in vars(alone).items():
            joint = getattr(together, name)[k // 3, k % 3]
            np.testing.assert_array_equal(joint, value)


# --- where nothing is defined ------------------------------------------------


def test_a_single_snapshot_has_no_steps():
    shape = path_geometry([[1.0, 2.0]])
    assert shape.step.shape == shape.turning.shape == (0,)
    assert shape.travelled.tolist() == shape.to_end.tolist() == [0]
    for name in ("smoothness", "straightness", "dimension"):
        assert math.isnan(getattr(shape, name))


def test_a_rest_has_no_direction():
    shape = path_geometry([[0.0], [1.0], [1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(shape.turning, [np.nan, np.nan, 0])
    np.testing.assert_array_equal(shape.curvature, [np.nan, np.nan, 0])
    assert shape.smoothness == 1


def test_a_path_that_diverges_is_measured_up_to_there():
    shape = path_geometry([[0.0], [1.0], [2.0], [np.nan]])
    np.testing.assert_array_equal(shape.step, [1, 1, np.nan])
    np.testing.assert_array_equal(shape.turning, [0, np.nan])


@pytest.mark.parametrize("shape", [(3,), (0, 2), (4, 0), (5, 0, 2)])
def test_what_is_no_path_is_refused(shape):
    with pytest.raises(ValueError, match="cannot be measured: pass .*snapshots"):
        path_geometry(np.zeros(shape))


# --- by layer and kind, and while it grows ------------------------------------


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def test_groups_cover_the_net_twice(net):
    named = groups(Layout.of(net))
    assert list(named) == [
        "whole", "layer:0", "layer:1", "layer:2", "kind:weight", "kind:bias",
        "kind:gamma", "kind:beta", "kind:mean", "kind:var",
    ]  # fmt: skip
    for word in ("layer:", "kind:"):
        members = [i for name in named if name.startswith(word) for i in named[name]]
        assert sorted(members) == list(named["whole"])


def test_a_group_is_its_coordinates_alone(net):
    layout = Layout.of(net)
    path = random_walk(d=layout.size)
    measured = geometry_by_group(path, layout)
    for group, coordinates in (
        ("whole", slice(None)),
        ("layer:2", layout.select(layer="2").numpy()),
        ("kind:bias", layout.select(kind="bias").numpy()),
    ):
        alone = path_geometry(path[:, coordinates])
        for name, value in vars(alone).items():
            np.testing.assert_allclose(getattr(measured[group], name), value)


def test_another_nets_path_is_refused(net):
    with pytest.raises(ValueError, match="last dimension must be 35"):
        geometry_by_group(np.zeros((3, 7)), Layout.of(net))


@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)]
)
def test_following_equals_measuring_afterwards(net, dtype, tolerance):
    layout = Layout.of(net.to(dtype))
    path = torch.from_numpy(random_walk(n=7, d=layout.size)).to(dtype)
    path[4] = path[3]  # a rest
    follower = PathFollower(layout)
    for k in range(len(path)):
        followed = follower.add(layout.unflatten(path[k]) if k % 2 else path[k])
        measured = geometry_by_group(path[: k + 1].numpy(), layout)
        assert list(followed) == list(measured)
        for group, now in followed.items():
            shape = measured[group]
            expected = [
                shape.step[-1] if k else np.nan,
                shape.travelled[-1],
                shape.from_start[-1],
                *(a[-1] if k > 1 else np.nan for a in (shape.turning, shape.curvature)),
                shape.smoothness,
                shape.straightness,
            ]
            np.testing.assert_allclose(
                list(vars(now).values()), expected, tolerance, 1e-6
            )


def test_a_follower_keeps_no_part_of_the_net(net):
    layout = Layout.of(net)
    follower = PathFollower(layout)
    follower.add(net)
    with torch.no_grad():
        net[0].weight += 1
    assert follower.add(net)["whole"].step == pytest.approx(math.sqrt(12))
    assert follower.add(net)["layer:0"].step == 0


def test_a_follower_has_the_memory_of_three_vectors(net):
    layout = Layout.of(net)
    follower = PathFollower(layout)
    for _ in range(5):
        follower.add(net)
    kept = [v for v in vars(follower).values() if isinstance(v, list)]
    assert sum(t.numel() for tensors in kept for t in tensors) == 3 * layout.size


def test_half_precision_is_measured_in_single():
    net = nn.Linear(64, 64).half()
    follower = PathFollower(Layout.of(net))
    follower.add(net)
    with torch.no_grad():
        net.weight += 100  # the sum of squares is beyond float16
    step = follower.add(net)["layer:"].step
    assert step == pytest.approx(100 * 64, rel=1e-3)


def test_a_follower_refuses_another_net(net):
    follower = PathFollower(Layout.of(net))
    follower.add(net)
    with pytest.raises(ValueError, match="does not fit this layout"):
        follower.add(nn.Linear(2, 2))
