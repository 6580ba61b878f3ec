import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwslib.clustering import cut, single_linkage
from nwslib.trajectory import epoch_order, order


def reference(distances, epochs):
    """Both measures, averaged over every order that decreasing distance allows."""
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
    return np.mean(initial), np.mean(pairs)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 20)),
        min_size=2,
        max_size=6,
        unique_by=lambda sample: sample[1],
    )
)
def test_measures_are_expectations_over_tied_orders(samples):
    distances, epochs = zip(*samples, strict=True)
    measured = order(distances, epochs)
    assert (measured.initial, measured.pairs) == pytest.approx(
        reference(distances, epochs)
    )


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


def test_epoch_order_refuses_other_lengths():
    Z = single_linkage(np.eye(3))
    with pytest.raises(ValueError, match="Z has 3 points, but there are 3 labels, 2"):
        epoch_order(Z, cut(Z, 1), [0, 0], [0, 1, 2])
