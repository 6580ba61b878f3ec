import numpy as np
import pytest

from nwslib.reduction import neighbour_shares, svd_space, umap_plane


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


# --- UMAP -------------------------------------------------------------------


@pytest.fixture(scope="module")
def strands():
    """Four nets of twelve epochs on lines far apart: points, nets, epochs."""
    nets, epochs = np.divmod(np.arange(48), 12)
    points = np.random.default_rng(0).normal(scale=0.01, size=(48, 10))
    points[:, 0] += 1000 * nets
    points[:, 1] += epochs + 0.3 * epochs**2
    return points.astype(np.float32), nets, epochs


@pytest.fixture(scope="module")
def plane(strands):
    return umap_plane(strands[0], seed=3)


@pytest.mark.slow
def test_plane_keeps_nets_together(strands, plane):
    points, nets, epochs = strands
    assert plane.shape == (48, 2)
    assert plane.dtype == np.float32
    assert np.isfinite(plane).all()
    assert neighbour_shares(plane, nets, epochs)["same_net"] == 1


@pytest.mark.slow
def test_plane_is_fixed_by_its_seed(strands, plane):
    np.testing.assert_array_equal(umap_plane(strands[0], seed=3), plane)
    assert not np.array_equal(umap_plane(strands[0], seed=4), plane)


@pytest.mark.slow
def test_smallest_plane():
    points = np.random.default_rng(0).normal(size=(5, 3))
    plane = umap_plane(points)
    assert plane.shape == (5, 2)
    assert np.isfinite(plane).all()


def test_too_few_points_for_umap():
    message = "4 points are too few for UMAP with 3 neighbours: give at least 5"
    with pytest.raises(ValueError, match=message):
        umap_plane(np.eye(4))


def test_umap_refuses_diverged_nets(points):
    points[3:5, 2] = np.inf
    with pytest.raises(ValueError, match="2 of 30 points hold NaN.*: drop diverged"):
        umap_plane(points)


# --- nearest neighbours -----------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dimensions", [2, 40])
def test_shares_against_brute_force(seed, dimensions):
    rng = np.random.default_rng(seed)
    nets, epochs = np.divmod(rng.permutation(60), 10)
    # random walks with drift: neither all neighbours alike nor none
    points = rng.normal(size=(60, dimensions))
    points[:, :2] += np.stack([nets, 2 * epochs], axis=1)
    same = following = 0
    for i in range(60):
        distances = [np.linalg.norm(points[i] - other) for other in points]
        distances[i] = np.inf
        nearest = int(np.argmin(distances))
        if nets[nearest] == nets[i]:
            same += 1
            following += abs(epochs[nearest] - epochs[i]) == 1
    shares = neighbour_shares(points, nets, epochs)
    assert shares == pytest.approx(
        {"same_net": same / 60, "next_epoch": following / 60}
    )
    assert 0 < following < 60


def test_shares_of_clean_strands_and_of_mixed_up_ones(strands):
    points, nets, epochs = strands
    assert neighbour_shares(points, nets, epochs) == {"same_net": 1, "next_epoch": 1}
    mixed = neighbour_shares(points, np.arange(48), epochs)
    assert mixed == {"same_net": 0, "next_epoch": 0}
    doubled = neighbour_shares(points, nets, 2 * epochs)
    assert doubled == {"same_net": 1, "next_epoch": 0}


def test_a_point_is_not_its_own_neighbour_even_among_equals():
    points = np.array([[0.0], [0.0], [5.0], [5.0]])
    shares = neighbour_shares(points, [0, 1, 2, 2], [0, 1, 0, 1])
    assert shares == {"same_net": 0.5, "next_epoch": 0.5}


@pytest.mark.parametrize(
    ("nets", "epochs", "message"),
    [
        (29, 30, "30 points, but 29 nets and 30 epochs: pass one of each"),
        (30, 31, "30 points, but 30 nets and 31 epochs: pass one of each"),
    ],
)
def test_shares_refuse_other_lengths(points, nets, epochs, message):
    with pytest.raises(ValueError, match=message):
        neighbour_shares(points, np.zeros(nets), np.zeros(epochs))


def test_shares_refuse_diverged_nets(points):
    points[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 30 points hold NaN.*: drop diverged"):
        neighbour_shares(points, np.zeros(30), np.zeros(30))
