import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kendalltau

from nwslib.trajectory import order as score
from nwslib.trajectory.seriation import (
    METHODS,
    decreasing_distance,
    direction_confidence,
    link_confidence,
    principal_coordinate,
    seriate,
    shortest_path,
    spectral,
)
from nwslib.trajectory.trials import (
    CUES,
    compare_cues,
    compare_methods,
    link_calibration,
)

SEEDS = st.integers(0, 2**32 - 1)


def between(points):
    """Distances of points [n, d], or [n] on a line."""
    points = np.asarray(points, dtype=float)
    return squareform(pdist(points.reshape(len(points), -1)))


def robinson(n, rng):
    """Distances that grow with every place apart, whose order is 0, 1, ..., n - 1."""
    inside = np.triu(rng.uniform(0.1, 1, (n, n)), 1)
    # the distance of i and j sums over all pairs within i ... j
    upper = np.triu(inside[::-1].cumsum(axis=0)[::-1].cumsum(axis=1), 1)
    return upper + upper.T


def noisy_path(n, rng, noise=0.7):
    """A drift that slows down, and noise around it, in 300 dimensions."""
    drift = np.cumsum(np.linspace(2, 0.5, n))[:, None] * rng.normal(size=300)
    return (drift + noise * 300**0.5 * rng.normal(size=(n, 300))) / 300**0.5


def in_a_heap(distances, rng):
    """The same in random order, and which is which."""
    heap = rng.permutation(len(distances))
    return distances[np.ix_(heap, heap)], heap


def same_row(order, expected):
    order, expected = list(order), list(expected)
    return order == expected or order == expected[::-1]


def merit(distances, order):
    """What seriate seeks to make great, for orders of at most 33."""
    return sum(
        distances[order[i], order[j]] * np.log1p(abs(i - j))
        for i, j in itertools.combinations(range(len(order)), 2)
    )


def length(distances, order):
    return sum(distances[i, j] for i, j in itertools.pairwise(order))


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
@pytest.mark.parametrize("n", [4, 7, 8, 15])
def test_points_on_a_line_with_shrinking_steps(method, n):
    line = np.append(0, np.cumsum(1.5 ** -np.arange(n - 1)))
    heaped, heap = in_a_heap(between(line), np.random.default_rng(n))
    found = heap[method(heaped)]
    if method is decreasing_distance:  # the last two are nearest to each other
        found = np.append(found[:-2], sorted(found[-2:]))
    np.testing.assert_array_equal(found, np.arange(n))
    assert found.dtype == np.int64


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_a_run_that_speeds_up_comes_out_backwards(method):
    line = np.append(0, np.cumsum(1.5 ** np.arange(9)))
    found = method(between(line))
    if method is decreasing_distance:
        found = np.append(found[:-2], sorted(found[-2:], reverse=True))
    np.testing.assert_array_equal(found, np.arange(10)[::-1])


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 14), SEEDS)
def test_robinson_matrices_are_recovered(n, seed):
    rng = np.random.default_rng(seed)
    heaped, heap = in_a_heap(robinson(n, rng), rng)
    for method in (seriate, spectral, shortest_path):
        assert same_row(heap[method(heaped)], range(n))


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 7), SEEDS)
def test_small_sets_are_solved_exactly(n, seed):
    noise = np.random.default_rng(seed).uniform(size=(n, n))
    distances = noise + noise.T
    np.fill_diagonal(distances, 0)
    orders = list(itertools.permutations(range(n)))
    shortest = min(length(distances, order) for order in orders)
    assert length(distances, shortest_path(distances)) == pytest.approx(shortest)
    best = max(merit(distances, order) for order in orders)
    assert merit(distances, seriate(distances)) == pytest.approx(best)


@settings(deadline=None, max_examples=15)
@given(SEEDS)
def test_no_single_move_improves_a_larger_set(seed):
    distances = between(np.random.default_rng(seed).normal(size=(10, 3)))
    path, found = shortest_path(distances), seriate(distances)
    for x, place in itertools.product(range(10), range(10)):
        for order, worse in ((path, length), (found, lambda D, p: -merit(D, p))):
            moved = [i for i in order if i != x]
            moved.insert(place, x)
            assert worse(distances, moved) >= worse(distances, order) - 1e-6
    for i, j in itertools.combinations(range(10), 2):
        turned = [*path[:i], *path[i : j + 1][::-1], *path[j + 1 :]]
        assert length(distances, turned) >= length(distances, path) - 1e-6


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([5, 7, 8, 12]), SEEDS)
def test_the_order_of_the_input_has_no_say(n, seed):
    rng = np.random.default_rng(seed)
    distances = between(rng.normal(size=(n, 4)))
    heaped, heap = in_a_heap(distances, rng)
    for name, method in METHODS.items():
        if method is not decreasing_distance:  # mutual neighbours tie
            assert list(heap[method(heaped)]) == list(method(distances)), name


def test_distances_may_have_any_unit():
    distances = between(noisy_path(20, np.random.default_rng(0)))
    for method in METHODS.values():
        for unit in (1e-12, 1e12):
            np.testing.assert_array_equal(method(unit * distances), method(distances))


def test_noise_confuses_neighbours_but_not_all_places_apart():
    tau = {name: [] for name in METHODS}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        heaped, heap = in_a_heap(between(noisy_path(30, rng)), rng)
        for name, method in METHODS.items():
            place = np.argsort(heap[method(heaped)])
            tau[name].append(kendalltau(place, np.arange(30)).statistic)
    mean = {name: np.mean(values) for name, values in tau.items()}
    assert min(tau["log-lag seriation"]) > 0.85
    assert mean["log-lag seriation"] > mean["shortest path"] + 0.02
    assert mean["shortest path"] > mean["decreasing distance"] + 0.3


def test_a_walk_without_noise_is_recovered():
    # In few dimensions, where criteria led by far pairs misplace neighbours.
    linear = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        distances = between(np.cumsum(rng.normal(size=(60, 30)), axis=0))
        heaped, heap = in_a_heap(distances, rng)
        place = np.argsort(heap[seriate(heaped)])
        assert abs(kendalltau(place, np.arange(60)).statistic) > 0.98
        place = np.argsort(heap[principal_coordinate(heaped)])
        linear += abs(kendalltau(place, np.arange(60)).statistic) / 6
    assert linear < 0.95


def test_more_snapshots_than_are_started_from_shuffles():
    rng = np.random.default_rng(0)
    heaped, heap = in_a_heap(
        between(np.cumsum(rng.normal(size=(420, 300)), axis=0)), rng
    )
    assert same_row(heap[seriate(heaped)], range(420))


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_few_snapshots_and_equal_ones(method):
    assert method(np.zeros((0, 0))).tolist() == []
    assert method([[0]]).tolist() == [0]
    assert sorted(method([[0, 2], [2, 0]])) == [0, 1]
    for n in (3, 9):
        assert sorted(method(np.zeros((n, n)))) == list(range(n))
        assert sorted(method(np.ones((n, n)))) == list(range(n))  # equidistant
    twins = between([0, 8, 8, 12, 14, 15, 15, 15.5, 15.75, 16])
    assert sorted(method(twins)) == list(range(10))


def test_duplicates_stand_together():
    rng = np.random.default_rng(1)
    points = [0, 8, 8, 12, 14, 15, 15, 15.5, 15.75, 16]
    heaped, heap = in_a_heap(between(points), rng)
    found = np.array(points)[heap[seriate(heaped)]]
    np.testing.assert_array_equal(found, points)


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_distances_that_are_none(method):
    for shape in ((2, 3), (4,), (2, 2, 2)):
        with pytest.raises(ValueError, match="pass a square matrix"):
            method(np.zeros(shape))
    for wrong, word in ((np.nan, "not finite"), (np.inf, "not finite"), (-1, "negat")):
        distances = np.ones((3, 3))
        distances[0, 2] = distances[2, 0] = wrong
        with pytest.raises(ValueError, match=f"snapshots 0 and 2 is .* is {word}"):
            method(distances)
    with pytest.raises(ValueError, match="from snapshot 0 to 1 is 1, but 2 back"):
        method([[0, 1], [2, 0]])


def test_rounding_is_no_asymmetry_and_the_diagonal_is_ignored():
    distances = between([0, 4, 6, 7]) + np.diag([1e-3, 0, 0, 0])
    distances[0, 1] *= 1 + 1e-7
    assert seriate(distances).tolist() == [0, 1, 2, 3]


def support(D):
    """Of the swap of each two neighbours: the weighted say of all others."""
    found = []
    for k in range(len(D) - 1):
        say = weight = 0
        for z in range(len(D)):
            if z in (k, k + 1):
                continue
            near, far = (k, k + 1) if z < k else (k + 1, k)
            m = abs(z - near)
            w = np.log1p(m + 1) - np.log1p(m) if m < 32 else 0
            say += w * (D[z, far] - D[z, near])
            weight += w
        found.append(say / weight / D[k, k + 1])
    return np.array(found)


@pytest.mark.parametrize("n", [3, 4, 9, 50])
def test_confidence_of_links_by_its_definition(n):
    D = between(noisy_path(n, np.random.default_rng(n)))
    order = np.random.default_rng(0).permutation(n) if n == 9 else np.arange(n)
    swaps = support(D[np.ix_(order, order)])
    confidence = link_confidence(D, order)
    assert confidence.shape == (n - 1,)
    for i in range(n - 1):
        weakest = max(0, min(swaps[max(0, i - 1) : i + 2]))
        sure = weakest**2 / (weakest**2 + 0.02**2)
        assert confidence[i] == pytest.approx(sure + (1 - sure) / n)


def test_confidence_of_links_in_plain_cases():
    line = between(np.cumsum(1.5 ** -np.arange(60)))
    assert link_confidence(line, np.arange(60)).min() > 0.999
    # Two trade places: the three links at these two are only chance.
    swapped = np.arange(60)
    swapped[[20, 21]] = 21, 20
    confidence = link_confidence(line, swapped)
    np.testing.assert_allclose(confidence[19:22], 1 / 60)
    assert np.delete(confidence, [19, 20, 21]).min() > 0.999
    # Duplicates may stand either way round.
    twins = link_confidence(between([0, 4, 6, 6, 7]), np.arange(5))
    np.testing.assert_allclose(twins[1:], 1 / 5)
    assert twins[0] > 0.99
    assert link_confidence(np.zeros((4, 4)), np.arange(4)).tolist() == [1 / 4] * 3
    assert link_confidence([[0, 3], [3, 0]], [1, 0]).tolist() == [1]
    assert link_confidence([[0]], [0]).shape == (0,)
    assert link_confidence(np.zeros((0, 0)), []).shape == (0,)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 20), SEEDS)
def test_confidence_does_not_depend_on_direction_or_input(n, seed):
    rng = np.random.default_rng(seed)
    D = between(rng.normal(size=(n, 3)))
    heaped, heap = in_a_heap(D, rng)
    confidence = link_confidence(D, np.arange(n))
    assert ((confidence > 0) & (confidence <= 1)).all()
    backwards = link_confidence(D, np.arange(n)[::-1])
    np.testing.assert_allclose(backwards, confidence[::-1])
    np.testing.assert_allclose(link_confidence(heaped, np.argsort(heap)), confidence)
    forwards, reverse = (
        direction_confidence(D, np.arange(n)[::way]) for way in (1, -1)
    )
    assert forwards + reverse == pytest.approx(1)


def test_direction():
    line = between([0, 4, 6, 7])  # mean distances 17/3 of the first, 11/3 of the last
    expected = 17**2.4 / (17**2.4 + 11**2.4)
    assert direction_confidence(line, [0, 1, 2, 3]) == pytest.approx(expected)
    even = between(np.arange(30))
    assert direction_confidence(even, np.arange(30)) == 0.5
    long = between(np.append(0, np.cumsum(0.9 ** np.arange(29))))
    first, last = long[0].sum(), long[-1].sum()
    expected = first**6 / (first**6 + last**6)
    assert direction_confidence(long, np.arange(30)) == pytest.approx(expected)
    assert direction_confidence([[0, 1], [1, 0]], [1, 0]) == 0.5
    assert direction_confidence(np.zeros((3, 3)), [0, 1, 2]) == 0.5
    no_metric = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert direction_confidence(no_metric, [0, 1, 2]) == 0
    assert direction_confidence(no_metric, [2, 1, 0]) == 1


@pytest.mark.parametrize("confidence", [link_confidence, direction_confidence])
@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [0, 1, 3], [0, 1, 2, 3]])
def test_orders_that_are_none(confidence, order):
    with pytest.raises(ValueError, match=f"names {len(order)} snapshots of 3"):
        confidence(np.ones((3, 3)), order)


def line_run(n, growth):
    """A run on a line whose steps grow by a factor, as points [n, 1]."""
    return np.append(0, np.cumsum(growth ** np.arange(n - 1.0)))[:, None]


def test_compare_methods_on_runs_with_known_scores():
    forwards, backwards = line_run(9, 0.5), line_run(12, 2.0)
    epochs = [np.arange(9), 10 * np.arange(12)]
    table = compare_methods([forwards, backwards], epochs)
    assert list(table.index) == list(METHODS)
    row = table.loc["log-lag seriation"]
    assert row["tau"] == pytest.approx(0) and row["tau_se"] == pytest.approx(1)
    assert row["oriented"] == 0.5
    assert row["ordered_initial"] == 9 / 2
    assert row["ordered_pairs"] == 1 / 2
    alone = compare_methods([forwards], epochs[:1]).loc["spectral"]
    assert alone["ordered_pairs"] == alone["oriented"] == 1
    assert alone["tau"] == pytest.approx(1)
    assert alone["ordered_initial"] == 9 and alone["tau_se"] == 0


def test_compare_methods_gives_nothing_away():
    # A method that keeps the input as it is knows the answer, unless shuffled.
    as_it_is = {"as it is": lambda distances: np.arange(len(distances))}
    runs = [line_run(30, 0.9)] * 40
    table = compare_methods(runs, [np.arange(30)] * 40, as_it_is)
    assert abs(table.loc["as it is", "tau"]) < 4 * table.loc["as it is", "tau_se"]
    assert table.loc["as it is", "tau_se"] < 0.05


def test_the_rule_of_the_paper_with_fair_ties():
    # The mean over shuffles is the expected value that order() computes.
    rng = np.random.default_rng(0)
    points = rng.normal(size=(8, 2)).cumsum(axis=0)
    distances = between(points) + np.diag(np.full(8, np.inf))
    expected = score(distances.min(axis=1), np.arange(8))
    rule = {"rule": decreasing_distance}
    found = compare_methods([points] * 400, [np.arange(8)] * 400, rule).loc["rule"]
    assert found["ordered_initial_se"] + found["ordered_pairs_se"] > 0  # there are ties
    for name, value in (("initial", expected.initial), ("pairs", expected.pairs)):
        near = max(4 * found[f"ordered_{name}_se"], 1e-12)
        assert abs(found[f"ordered_{name}"] - value) <= near


def test_compare_cues():
    epochs = [np.arange(6)] * 3
    runs = [line_run(6, 0.5), line_run(6, 2.0), line_run(6, 1.0)]
    share = compare_cues(runs, epochs)
    assert list(share.index) == list(CUES)
    assert (share == 0.5).all()  # right, wrong, no difference
    assert (compare_cues(runs[:1], epochs[:1]) == 1).all()
    assert (compare_cues(runs[1:2], epochs[1:2]) == 0).all()
    # Steps 3 1 1 4: the first is shorter than the last, and so on.
    share = compare_cues([np.array([[0.0], [3], [4], [5], [9]])], [np.arange(5)])
    assert share.tolist() == [0, 0, 0, 0]
    share = compare_cues([np.array([[0.0], [3], [7], [8], [11.5]])], [np.arange(5)])
    assert share.tolist() == [0, 1, 1, 1]


def test_link_calibration_counts_links():
    sure = link_calibration([line_run(9, 0.5), line_run(5, 2.0)], [range(9), range(5)])
    assert sure["links"].tolist() == [12]  # one bin; the second run is turned first
    assert sure["right"].tolist() == [1]
    assert sure["confidence"].iloc[0] > 0.99
    # Orders of twins are a guess: half of the links to and from them.
    twins = [np.array([[0.0], [4], [6], [6], [7]])] * 200
    table = link_calibration(twins, [range(5)] * 200)
    assert table["links"].tolist() == [600, 200]
    assert table["confidence"].iloc[0] == pytest.approx(1 / 5)
    assert table["right"].iloc[0] == pytest.approx(0.5, abs=0.1)
    assert table["right"].iloc[1] == 1


def test_confident_links_are_right_in_noise():
    rng = np.random.default_rng(0)
    runs = [noisy_path(30, rng, noise) for noise in (0.3, 1, 2, 4) for _ in range(8)]
    table = link_calibration(runs, [range(30)] * len(runs), edges=(0, 0.3, 0.9, 1))
    low, middle, high = table["right"]
    assert table["links"].min() > 50
    assert low < 0.4 < middle < high
    assert high > 0.95


@pytest.mark.parametrize("trial", [compare_methods, compare_cues, link_calibration])
def test_trials_without_runs_or_epochs(trial):
    with pytest.raises(ValueError, match="0 runs, and epochs of 0"):
        trial([], [])
    with pytest.raises(ValueError, match="1 runs, and epochs of 2"):
        trial([np.zeros((3, 2))], [range(3), range(3)])
    with pytest.raises(ValueError, match="run 1 has 3 snapshots and 2 epochs"):
        trial([np.eye(3), np.eye(3)], [range(3), range(2)])
    with pytest.raises(ValueError, match="run 0 has 1 snapshots and 1 epochs"):
        trial([np.zeros((1, 2))], [range(1)])
