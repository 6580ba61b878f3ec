import numpy as np
import pytest

from nwslib.reduction import svd_space


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 12)) * np.linspace(5, 0.1, 12) + 3


def test_coordinates_are_those_of_the_uncentred_svd(points):
    space = svd_space(points, 4, seed=0)
    left, singular, _ = np.linalg.svd(points, full_matrices=False)
    expected = left[:, :4] * singular[:4]
    # Each axis is defined up to its sign.
    np.testing.assert_allclose(np.abs(space.points), np.abs(expected), atol=1e-2)
    assert space.points.shape == (30, 4)


def test_all_dimensions_keep_every_distance_and_all_variance(points):
    space = svd_space(points, 12)
    np.testing.assert_allclose(space.points @ space.points.T, points @ points.T)
    assert space.explained.sum() == pytest.approx(1)


def test_explained_is_the_share_of_variance(points):
    space = svd_space(points, 3)
    np.testing.assert_allclose(
        space.explained, space.points.var(axis=0) / points.var(axis=0).sum()
    )


def test_same_seed_same_bits_and_float32_stays(points):
    points = points.astype(np.float32)
    first, second = svd_space(points, 3, seed=5), svd_space(points, 3, seed=5)
    np.testing.assert_array_equal(first.points, second.points)
    assert first.points.dtype == np.float32


@pytest.mark.parametrize("k", [-1, 0, 13])
def test_impossible_dimension(points, k):
    message = f"cannot reduce 30 points of 12 dimensions to {k}: .* 1 and 12"
    with pytest.raises(ValueError, match=message):
        svd_space(points, k)


def test_diverged_nets_are_refused(points):
    points[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 30 points hold NaN.*: drop diverged"):
        svd_space(points, 3)
