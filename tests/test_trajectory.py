import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwslib.clustering import cut, purity, single_linkage
from nwslib.trajectory import assign, epoch_order, order

#: Snapshots of one net with many equal distances: (distance, epoch) of each.
TIED_SAMPLES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 20)),
    min_size=2,
    max_size=6,
    unique_by=lambda sample: sample[1],
)


def allowed(distances, epochs):
    """Both measures in every order that decreasing distance allows."""
    expected = sorted(epochs)
    initial, pairs = [], []
    for chosen in itertools.permutations(range(len(epochs))):
        falling = [distances[i] for i in chosen]
        if falling != sorted(falling, reverse=True):
            continue
        found = [epochs[i] for i in chosen]
        right = [a == b for a, b in zip(found, expected, strict=True)]
        initial.append((right + [False]).index(False))
        steps = set(itertools.pairwise(expected))
        pairs.append(np.mean([step in steps for step in itertools.pairwise(found)]))
    return initial, pairs


@settings(deadline=None)
@given(TIED_SAMPLES)
def test_measures_are_expectations_over_tied_orders(samples):
    distances, epochs = zip(*samples, strict=True)
    measured = order(distances, epochs)
    initial, pairs = allowed(distances, epochs)
    assert measured.initial == pytest.approx(np.mean(initial))
    assert measured.pairs == pytest.approx(np.mean(pairs))


@settings(deadline=None)
@given(TIED_SAMPLES)
def test_forward_puts_ties_in_the_order_of_epochs(samples):
    distances, epochs = zip(*samples, strict=True)
    measured = order(distances, epochs, ties="forward")
    # the same without ties: among equals, earlier epochs a little further away
    untied = [d - epoch / 100 for d, epoch in samples]
    assert measured == order(untied, epochs)
    initial, pairs = allowed(distances, epochs)
    assert measured.initial == max(initial)
    assert min(abs(measured.pairs - possible) for possible in pairs) < 1e-12


def test_forward_does_not_always_give_more_pairs():
    # 1 and 3 tied, then 2: in the order 1 3 2 no epoch precedes the next.
    assert order([2, 2, 1], [1, 3, 2], ties="forward").pairs == 0
    assert order([2, 2, 1], [1, 3, 2]).pairs == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("distances", "epochs", "initial", "pairs"),
    [
        ([4, 3, 2, 1], [0, 1, 2, 3], 4, 1),
        ([4, 3, 2, 1], [10, 20, 30, 40], 4, 1),  # gaps do not count
        ([1, 2, 3, 4], [0, 1, 2, 3], 0, 0),
        ([4, 3, 1, 2], [0, 1, 2, 3], 2, 1 / 3),  # 0 1 3 2
        ([3, 4, 2, 1], [0, 1, 2, 3], 0, 1 / 3),  # 1 0 2 3
        ([3, 2, 1, 1], [0, 1, 2, 3], 3, (1 + 1 / 2 + 1 / 2) / 3),  # last two tied
        ([1, 1], [0, 1], 1, 1 / 2),
    ],
)
def test_measures_by_hand(distances, epochs, initial, pairs):
    measured = order(distances, epochs)
    assert measured.initial == pytest.approx(initial)
    assert measured.pairs == pytest.approx(pairs)


def test_one_snapshot_is_in_place_and_has_no_pairs():
    measured = order([1.0], [7])
    assert measured.initial == 1
    assert math.isnan(measured.pairs)


def test_cluster_table_by_hand():
    # Net 5 comes to rest along a line; net 8 likewise, far away, except that a
    # late snapshot of net 5 lies beside it.
    points = np.array([0, 8, 12, 14, 15, 100, 104, 106, 110, 98.0])[:, None]
    nets = np.array([5, 5, 5, 5, 5, 8, 8, 8, 8, 5])
    epochs = np.array([0, 1, 2, 3, 4, 1, 2, 3, 0, 5])
    Z = single_linkage(points)
    found = epoch_order(Z, cut(Z, 2), nets, epochs)
    assert found.clusters.index.name == "cluster"
    assert found.clusters["net"].tolist() == [5, 8]
    assert found.clusters["snapshots"].tolist() == [5, 4]
    # Net 5 joins at 8 4 2 1 1. Net 8, epochs 1 2 3 0, at 2 (the stranger), 2
    # 2 4: epoch 0 first, then three tied.
    first, second = found.clusters.itertuples(index=False)
    assert first.ordered_initial == pytest.approx(3 + 1 / 2 + 1 / 2)
    assert first.ordered_pairs == pytest.approx((2 + 1 / 2 + 1 / 2) / 4)
    assert second.ordered_initial == pytest.approx(1 + 1 / 3 + 1 / 6 + 1 / 6)
    assert second.ordered_pairs == pytest.approx((1 / 3 + 2 / 3) / 3)
    assert found.initial == pytest.approx((4 + 5 / 3) / 2)
    assert found.pairs == pytest.approx((3 / 4 + 1 / 3) / 2)


def test_single_snapshots_are_left_out_of_the_mean_of_pairs():
    Z = single_linkage([[0.0], [2.0], [3.0], [50.0]])
    found = epoch_order(Z, cut(Z, 2), [0, 0, 0, 1], [0, 1, 2, 0])
    assert found.clusters["ordered_pairs"].isna().tolist() == [False, True]
    assert found.pairs == found.clusters["ordered_pairs"][0]


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(24)), st.integers(0, 5))
def test_order_of_the_points_does_not_matter(shuffled, seed):
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, 4, size=(3, 8)).cumsum(axis=1)  # many tied steps
    points = (steps + [[0], [100], [300]]).reshape(-1, 1).astype(float)
    nets, epochs = np.divmod(np.arange(24), 8)

    def table(chosen):
        Z = single_linkage(points[chosen])
        found = epoch_order(Z, cut(Z, 3), nets[chosen], epochs[chosen])
        return found.clusters.sort_values("net").to_numpy()

    np.testing.assert_allclose(table(np.array(shuffled)), table(np.arange(24)))


@pytest.mark.parametrize(
    ("distances", "epochs", "message"),
    [
        ([1, 2], [0], "2 distances for 1 epochs: pass one of each"),
        ([], [], "0 distances for 0 epochs: .* at least one"),
        ([1, 2, 3], [4, 6, 6], "epoch 6 occurs twice: pass each snapshot"),
    ],
)
def test_order_refuses(distances, epochs, message):
    with pytest.raises(ValueError, match=message):
        order(distances, epochs)


@pytest.mark.parametrize("ties", ["backward", "", None])
def test_unknown_ties(ties):
    message = f"unknown ties '{ties}': choose expected or forward"
    with pytest.raises(ValueError, match=message):
        order([1, 2], [0, 1], ties=ties)
    Z = single_linkage(np.eye(3))
    with pytest.raises(ValueError, match=message):
        epoch_order(Z, cut(Z, 1), [0, 0, 0], [0, 1, 2], ties=ties)


def test_epoch_order_refuses_other_lengths():
    Z = single_linkage(np.eye(3))
    with pytest.raises(ValueError, match="Z has 3 points, but there are 3 labels, 2"):
        epoch_order(Z, cut(Z, 1), [0, 0], [0, 1, 2])


# --- the whole comparison ---------------------------------------------------


@pytest.fixture
def strands():
    """Three nets that come to rest far apart: points, nets, epochs, shuffled."""
    rng = np.random.default_rng(0)
    nets, epochs = np.divmod(rng.permutation(24), 8)
    points = rng.normal(scale=0.01, size=(24, 5))
    points[:, 0] += 100 * nets - 0.5**epochs * 20
    return points, nets + 7, epochs


def test_assign_does_the_steps_one_by_one(strands):
    points, nets, epochs = strands
    found = assign(points, nets, epochs)
    Z = single_linkage(points)
    np.testing.assert_array_equal(found.Z, Z)
    np.testing.assert_array_equal(found.labels, cut(Z, 3))
    np.testing.assert_array_equal(found.purity.share, purity(found.labels, nets).share)
    for order_, ties in ((found.order, "expected"), (found.order_forward, "forward")):
        expected = epoch_order(Z, found.labels, nets, epochs, ties)
        assert order_.clusters.equals(expected.clusters)


def test_scores_by_hand():
    # A net that halves its steps from 0 on, 0 8 12 14 15, and one of two points.
    points = np.array([0, 8, 12, 14, 15, 100, 103.0])[:, None]
    nets, epochs = np.array([0, 0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 4, 0, 1])
    # Joined at 8 4 2 1 1 and 3 3: either order of the last two is as likely.
    assert assign(points, nets, epochs).scores() == pytest.approx(
        {
            "purity": 1.0,
            "ordered_initial": ((3 + 1 / 2 + 1 / 2) + 1) / 2,
            "ordered_pairs": ((2 + 1 / 2 + 1 / 2) / 4 + 1 / 2) / 2,
            "ordered_initial_forward": (5 + 2) / 2,
            "ordered_pairs_forward": 1.0,
        }
    )


def test_a_stranger_costs_purity():
    # Net 1's first snapshot lies with net 0; its second stands alone.
    points = np.array([0.0, 1.0, 2.0, 2.5, 90.0])[:, None]
    scores = assign(points, [0, 0, 0, 1, 1], [0, 1, 2, 0, 1]).scores()
    assert scores["purity"] == pytest.approx((3 / 4 + 1) / 2)


def test_order_of_the_snapshots_does_not_change_scores(strands):
    points, nets, epochs = strands
    turned = assign(points[::-1], nets[::-1], epochs[::-1]).scores()
    assert turned == pytest.approx(assign(points, nets, epochs).scores())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nets": [0, 0, 1]}, "4 labels do not match 3 nets"),
        ({"nets": [0, 1, 2, 3, 4]}, "cannot cut 4 points into 5 clusters"),
        ({"epochs": [0, 1]}, "Z has 4 points, .* and 2 epochs: pass one of each"),
        ({"epochs": [0, 0, 0, 1]}, "epoch 0 occurs twice"),
        ({"points": np.full((4, 2), np.nan)}, "4 of 4 points hold NaN.*: drop diverg"),
        ({"points": np.ones((1, 2))}, r"1 point\(s\) have no distances"),
    ],
)
def test_assign_refuses(change, message):
    points = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 2.0]])
    arguments = {"points": points, "nets": [0, 0, 1, 1], "epochs": [0, 1, 0, 1]}
    with pytest.raises(ValueError, match=message):
        assign(**arguments | change)
