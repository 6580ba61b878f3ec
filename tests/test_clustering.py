import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist

from nwslib.clustering import (
    _lower_bounds,
    cut,
    join_heights,
    purity,
    single_linkage,
)

# scipy takes some of the drawn points for a distance matrix.
pytestmark = pytest.mark.filterwarnings("ignore:The symmetric non-negative hollow")

# numba compiles in the first example, so no deadline.
fast = settings(deadline=None, max_examples=150)
matrices = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30).filter(
    lambda shape: shape[0] >= 2
)


def assert_same_linkage(points):
    """Merges and sizes equal scipy's, heights to rounding."""
    ours, scipys = single_linkage(points), linkage(points, "single")
    np.testing.assert_array_equal(ours[:, [0, 1, 3]], scipys[:, [0, 1, 3]])
    np.testing.assert_allclose(ours[:, 2], scipys[:, 2], rtol=1e-12, atol=0)


def walks(n_nets, n_epochs, dim, seed=0):
    """Random walks with shrinking steps, shuffled: points, nets, epochs."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(n_nets, n_epochs, dim))
    steps *= np.linspace(1, 0.2, n_epochs)[:, None]
    starts = rng.normal(scale=10, size=(n_nets, 1, dim))
    points = (starts + steps.cumsum(axis=1)).reshape(-1, dim)
    shuffled = rng.permutation(len(points))
    return points[shuffled], shuffled // n_epochs, shuffled % n_epochs


@fast
@given(hnp.arrays(np.int64, matrices, elements=st.integers(-2, 2)))
def test_ties_and_duplicates_resolve_as_in_scipy(points):
    np.testing.assert_array_equal(single_linkage(points), linkage(points, "single"))


@fast
@given(
    hnp.arrays(np.float32, matrices, elements=st.floats(-1, 1, width=32)),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([0.0, 1000.0]),
    st.sampled_from([1.0, 1e-30, 1e30]),
)
def test_linkage_equals_scipys(points, dtype, offset, unit):
    assert_same_linkage(
        (points.astype(np.float64) * unit + offset * unit).astype(dtype)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linkage_of_trajectories_equals_scipys(dtype):
    assert_same_linkage(walks(12, 25, 300)[0].astype(dtype))


def test_distances_below_float32_resolution_are_told_apart():
    # Two tight groups so far apart that the rough distances within them are
    # nothing but rounding errors.
    rng = np.random.default_rng(0)
    points = rng.normal(scale=1e-5, size=(120, 200))
    points[::2] += rng.normal(size=200)
    assert_same_linkage(points)


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e-45, 1e-38, 1e130])
def test_magnitudes_that_underflow_or_overflow_float32(unit):
    rng = np.random.default_rng(0)
    points = rng.integers(-3, 4, size=(30, 3)) * unit
    assert_same_linkage(np.concatenate([points, points[:5] * 1.5]))


@pytest.mark.parametrize(("n", "d"), [(40, 3), (40, 2160), (3, 2**20)])
@pytest.mark.parametrize("spread", [1.0, 1e-4])
def test_rough_distances_never_exceed_the_exact_ones(n, d, spread):
    rng = np.random.default_rng(0)
    points = rng.normal(size=d) + spread * rng.normal(size=(n, d))
    points[: n // 2] += 1
    gram, weight, scale = _lower_bounds(points)
    lower = weight[:, None] + weight - 2 * gram.astype(np.float64)
    exact = (cdist(points, points) * scale) ** 2
    assert (lower <= exact).all()
    # ... and say something about the distance between the two halves.
    assert (lower[: n // 2, n // 2 :] > 0.5 * exact[: n // 2, n // 2 :]).all()


def test_linkage_takes_lists_views_and_two_points():
    np.testing.assert_array_equal(single_linkage([[0, 0], [3, 4]]), [[0, 1, 5, 2]])
    points = walks(3, 6, 8)[0]
    before = points.copy()
    np.testing.assert_array_equal(
        single_linkage(np.asfortranarray(points)[::2]), single_linkage(points[::2])
    )
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros(3), r"points have shape \[3\]: pass a matrix"),
        (np.zeros((2, 3, 4)), r"points have shape \[2, 3, 4\]: pass a matrix"),
        (np.zeros((3, 0)), r"points have shape \[3, 0\]: pass a matrix"),
        (np.zeros((1, 4)), r"1 point\(s\) have no distances: pass at least two"),
        (
            [[0.0, 1.0], [np.nan, 1.0], [np.inf, np.nan]],
            "2 of 3 points hold NaN, infinite .*: drop diverged nets first",
        ),
        ([[0.0], [-np.inf]], "1 of 2 points hold NaN"),
        ([[0.0], [-1e200]], "1 of 2 points hold .* overflowing weights"),
    ],
)
def test_unusable_points_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        single_linkage(points)


def test_cut_undoes_the_last_merges():
    # On a line: gaps of 1, 5, 2 and 9 between five points, listed shuffled.
    Z = single_linkage(np.array([[17.0], [0.0], [8.0], [1.0], [6.0]]))
    assert cut(Z, 1).tolist() == [0, 0, 0, 0, 0]
    assert cut(Z, 2).tolist() == [0, 1, 1, 1, 1]
    assert cut(Z, 3).tolist() == [0, 1, 2, 1, 2]
    assert cut(Z, 4).tolist() == [0, 1, 2, 1, 3]
    assert cut(Z, 5).tolist() == [0, 1, 2, 3, 4]


@fast
@given(
    hnp.arrays(np.int64, matrices, elements=st.integers(-2, 2)),
    st.integers(1, 30),
)
def test_cut_gives_exactly_k_clusters_and_agrees_with_fcluster(points, k):
    k = min(k, len(points))
    Z = single_linkage(points)
    labels = cut(Z, k)
    assert list(dict.fromkeys(labels.tolist())) == list(range(k))
    flat = fcluster(Z, k, "maxclust")
    if flat.max() == k:
        assert len(set(zip(labels.tolist(), flat.tolist(), strict=True))) == k


def test_cut_splits_tied_heights_where_fcluster_cannot():
    Z = single_linkage(np.arange(4.0)[:, None])
    assert fcluster(Z, 2, "maxclust").max() == 1
    assert cut(Z, 2).max() == 1


@pytest.mark.parametrize("k", [-1, 0, 4])
def test_impossible_number_of_clusters(k):
    Z = single_linkage(np.eye(3))
    with pytest.raises(ValueError, match=f"cannot cut 3 points into {k} clusters: "):
        cut(Z, k)


def test_clusters_of_separate_walks_are_the_nets():
    points, nets, _ = walks(12, 25, 300)
    found = purity(cut(single_linkage(points), 12), nets)
    assert found.mean == 1
    assert sorted(found.net) == list(range(12))
    assert found.size.tolist() == [25] * 12


@fast
@given(hnp.arrays(np.int64, matrices, elements=st.integers(-2, 2)))
def test_a_point_joins_at_the_distance_of_its_nearest_neighbour(points):
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(
        join_heights(single_linkage(points)), distances.min(axis=1)
    )


def test_purity_by_hand():
    found = purity([0, 0, 0, 1, 1, 2], ["a", "b", "b", "c", "a", "a"])
    assert found.net.tolist() == ["b", "a", "a"]  # "a" before "c" in the tie
    np.testing.assert_allclose(found.share, [2 / 3, 1 / 2, 1])
    assert found.size.tolist() == [3, 2, 1]
    assert found.mean == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


@pytest.mark.parametrize(
    ("labels", "nets", "message"),
    [
        ([0, 1], [0], "2 labels do not match 1 nets: pass one of each"),
        ([0, 2], [0, 1], "cluster 1 has no points: number clusters from 0"),
    ],
)
def test_purity_refuses(labels, nets, message):
    with pytest.raises(ValueError, match=message):
        purity(labels, nets)
