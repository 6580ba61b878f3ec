import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.cluster.hierarchy import cophenet, fcluster, leaves_list, linkage
from scipy.spatial.distance import cdist, squareform

from nwslib._rough import RoughPoints, near_cophenetic, strip_bounds
from nwslib.clustering import cut, join_heights, purity, single_linkage

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
@given(
    hnp.arrays(np.int64, matrices, elements=st.integers(-2, 2)),
    st.sampled_from([2**27, 2000, 240]),
)
def test_ties_and_duplicates_resolve_as_in_scipy(points, memory):
    # The least memory does not hold the tied edges: Prim on all pairs then.
    np.testing.assert_array_equal(
        single_linkage(points, memory=memory), linkage(points, "single")
    )


@pytest.mark.parametrize("memory", [2**27, 2**16, 8 * 1300])
@pytest.mark.parametrize(("values", "d"), [(2, 16), (4, 6), (12, 3), (1500, 1)])
def test_ties_across_tiles_resolve_as_in_scipy(values, d, memory):
    points = np.random.default_rng(0).integers(values, size=(1300, d))
    np.testing.assert_array_equal(
        single_linkage(points, memory=memory), linkage(points, "single")
    )


@pytest.mark.parametrize(
    "points",
    [
        np.ones((5, 3)),
        np.eye(50),
        np.array([[0.0, 1], [-0.0, 1], [0, 2]]),
        np.arange(600.0)[:, None],
    ],
)
def test_nothing_but_ties(points):
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


@settings(fast, max_examples=50)
@given(
    hnp.arrays(np.float32, matrices, elements=st.floats(-1, 1, width=32)),
    st.sampled_from([240, 500, 1000]),
)
def test_memory_does_not_change_the_result(points, memory):
    np.testing.assert_array_equal(
        single_linkage(points, memory=memory), single_linkage(points)
    )


@pytest.mark.parametrize("memory", [2**18, 2**14])
@pytest.mark.parametrize("shape", ["walks", "blob", "two bases", "copies"])
def test_wide_strips_and_many_tiles(shape, memory):
    rng = np.random.default_rng(0)
    points = {
        "walks": walks(40, 30, 60)[0],
        "blob": rng.normal(size=(1200, 60)),
        "two bases": rng.normal(size=(1200, 60)) + 1e5 * (np.arange(1200) % 2)[:, None],
        "copies": rng.normal(size=(400, 60))[rng.integers(400, size=1200)],
    }[shape]
    np.testing.assert_array_equal(
        single_linkage(points, memory=memory), linkage(points, "single")
    )


@pytest.mark.parametrize(
    ("n", "d"), [(40, 3), (40, 2160), (3, 2**20), (700, 30), (1100, 300)]
)
@pytest.mark.parametrize("spread", [1.0, 1e-4])
def test_rough_distances_never_exceed_the_exact_ones(n, d, spread):
    rng = np.random.default_rng(0)
    points = rng.normal(size=d) + spread * rng.normal(size=(n, d))
    points[: n // 2] += 1
    rough = RoughPoints(points, rng.permutation(n), 32, "cpu")
    exact = (cdist(points, points) * rough.scale) ** 2
    exact = exact[np.ix_(rough.rows, rough.rows)]
    np.fill_diagonal(exact, np.inf)
    halves = (rough.rows < n // 2)[:, None] != (rough.rows < n // 2)
    seen = np.zeros((n, n), int)
    for first, second, lower in rough.tiles():
        part = np.s_[first, second]
        within = np.s_[: exact[part].shape[0], : exact[part].shape[1]]
        lower = lower.numpy().astype(np.float64)
        assert (lower[within] <= exact[part]).all()
        # ... and say something about the distance between the two halves.
        told = lower[within] > 0.5 * exact[part]
        assert told[halves[part]].all()
        lower[within] = np.inf
        assert np.isinf(lower).all()  # no points there
        seen[part] += 1
    seen += np.triu(seen, 1).T
    assert (np.triu(seen, 512) <= 1).all() and seen.all()


@pytest.mark.parametrize("width", [32, 512, 2048])
def test_strip_bounds_cover_every_strip(width):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1100, 8))
    rough = RoughPoints(points, np.arange(1100), width, "cpu")
    rough.gather()
    assert sorted(rough.rows) == list(range(1100))
    bounds = strip_bounds(rough, width)
    exact = (cdist(points, points) * rough.scale)[np.ix_(rough.rows, rough.rows)] ** 2
    np.fill_diagonal(exact, np.inf)
    least = np.minimum.reduceat(exact, np.arange(0, 1100, width), axis=1)
    assert bounds.shape == least.shape
    assert (bounds <= least).all()
    np.testing.assert_allclose(bounds, least, atol=1e-4)


def test_gathered_points_stand_with_their_net():
    points, nets, _ = walks(40, 30, 300)
    rough = RoughPoints(points, np.arange(1200), 32, "cpu")
    rough.gather()
    changes = np.count_nonzero(np.diff(nets[rough.rows]))
    assert changes < 400  # 1170 if shuffled, 39 at best


def test_no_edge_as_long_as_its_ends_merge_high_is_missed():
    points = np.random.default_rng(0).integers(6, size=(1300, 4)).astype(float)
    points = np.unique(points, axis=0)
    assert len(points) > 512  # more than one tile
    Z = linkage(points, "single")
    order = leaves_list(Z)
    merge = squareform(cophenet(Z))[np.ix_(order, order)]
    rough = RoughPoints(points, order, 32, "cpu")
    found = set()
    for i, j, heights in near_cophenetic(rough, np.diag(merge, 1).copy()):
        np.testing.assert_array_equal(heights, merge[i, j])
        found |= {tuple(sorted(pair)) for pair in zip(i, j, strict=True)}
    exact = cdist(points, points)[np.ix_(order, order)]
    expected = np.argwhere(np.triu(exact == merge, 1))
    assert found >= set(map(tuple, expected))


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_the_result(threads):
    points = np.random.default_rng(0).integers(4, size=(1500, 9))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = single_linkage(points)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(ours, linkage(points, "single"))


def test_precision_that_the_caller_has_set_is_kept_and_not_used():
    points = walks(12, 25, 300)[0]
    torch.set_float32_matmul_precision("medium")
    try:
        assert_same_linkage(points)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.slow
def test_memory_stays_bounded():
    # 6000 points: a float32 matrix of all distances takes 144 MB.
    code = """
import resource
import numpy as np
from nwslib.clustering import single_linkage
points = np.random.default_rng(0).normal(size=(6000, 50)).astype(np.float32)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
single_linkage(points[:1000], memory=2**20)  # loads what it needs
before = peak()
single_linkage(points, memory=2**21)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 50


def test_import_loads_neither_torch_nor_numba():
    code = "import sys, nwslib.clustering; print({'torch', 'numba'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("device", ["no-such-device", "xpu:99", "meta"])
def test_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=f"device '{device}' is not available here: "):
        single_linkage(np.eye(3), device=device)


def test_memory_that_cannot_do():
    with pytest.raises(
        ValueError, match="memory of 23 bytes is too small for 3 points: .* least 24"
    ):
        single_linkage(np.eye(3), memory=23)
    assert single_linkage(np.eye(3), memory=24).shape == (2, 4)


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


@fast
@given(
    hnp.arrays(np.int64, matrices, elements=st.integers(-2, 2)),
    st.sampled_from([-4.0, 0.5, 1024.0]),
)
def test_a_scale_scales_the_heights_alone(points, scale):
    Z, scaled = single_linkage(points), single_linkage(points * scale)
    np.testing.assert_array_equal(scaled[:, [0, 1, 3]], Z[:, [0, 1, 3]])
    np.testing.assert_array_equal(scaled[:, 2], abs(scale) * Z[:, 2])


@fast
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40),
    st.randoms(),
)
def test_purity_counts(pairs, random):
    used = sorted({label for label, _ in pairs})
    pairs = [(used.index(label), net) for label, net in pairs]
    members = [[net for label, net in pairs if label == c] for c in range(len(used))]
    found = purity(*zip(*pairs, strict=True))
    for cluster, nets in enumerate(members):
        most = max(nets.count(net) for net in nets)
        assert found.share[cluster] == most / len(nets)
        assert nets.count(found.net[cluster]) == most
    assert found.size.tolist() == [len(nets) for nets in members]
    assert (found.mean == 1) == all(len(set(nets)) == 1 for nets in members)
    # Neither the order of points nor the names of nets matter.
    random.shuffle(pairs)
    renamed = purity(*zip(*[(label, 9 - net) for label, net in pairs], strict=True))
    np.testing.assert_array_equal(renamed.share, found.share)


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
