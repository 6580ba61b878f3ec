"""The lineage of checkpoints: its parts on cases with known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nwslib.flatten import Layout
from nwslib.lineage import levels
from nwslib.lineage.copies import find_copies
from nwslib.lineage.families import families, least_cosine
from nwslib.lineage.sketch import LONGEST, length_for, sketch
from nwslib.lineage.space import distances
from nwslib.lineage.survey import compared, summary
from nwslib.lineage.tree import grow
from nwslib.lineage.trials import branch_trials, relatives

SIZE = 2000


def net(vector):
    """A state_dict of 2000 weights."""
    vector = torch.as_tensor(vector, dtype=torch.float32)
    return {
        "a.weight": vector[:1500].view(30, 50),
        "b.weight": vector[1500:].view(20, -1),
    }


def walk(rng, n, start=None, drift=0.3, slowing=0.8, first=0.5, size=SIZE):
    """A path whose steps become shorter; ``start`` is not part of it."""
    direction = rng.normal(size=size)
    points = [rng.normal(size=size)] if start is None else []
    here = points[0] if points else start
    while len(points) < n:
        here = here + first * (drift * direction + rng.normal(size=size))
        first *= slowing
        points.append(here)
    return np.stack(points)


# --- long vectors shortened -------------------------------------------------


def test_short_vectors_stay_as_they_are():
    vector = torch.randn(10)
    assert sketch(vector, 10) is vector


def test_shortened_distances_are_right_within_their_error():
    generator = torch.Generator().manual_seed(0)
    length = 2003
    ratios = []
    for _ in range(40):
        a, b = torch.randn(2, 30_000, generator=generator)
        ratios.append((sketch(a, length) - sketch(b, length)).norm() / (a - b).norm())
    ratios = torch.tensor(ratios)
    error = (2 * length) ** -0.5
    assert abs(ratios.mean() - 1) < 3 * error / 40**0.5
    assert 0.5 * error < ratios.std() < 1.5 * error


def test_shortening_is_linear_and_the_same_every_time():
    a, b = torch.randn(2, 5000)
    assert torch.equal(sketch(a, 101), sketch(a, 101))
    torch.testing.assert_close(
        sketch(2 * a - b, 101), 2 * sketch(a, 101) - sketch(b, 101), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("size", "count", "memory", "length"),
    [
        (1000, 10, 10**6, 1000),  # fits
        (10**6, 10, 10**7, LONGEST),
        (10**6, 5000, 2**29, 26843),
        (10**6, 10**6, 2**20, 1021),  # never less
    ],
)
def test_vectors_are_as_long_as_memory_allows(size, count, memory, length):
    assert length_for(size, count, memory) == length
    assert length == size or length % 2


# --- few levels ---------------------------------------------------------------


def rounded(tensor, unit):
    return (tensor / unit).round() * unit


def per_tensor(tensor, bits):
    return rounded(tensor, tensor.abs().max() / (2 ** (bits - 1) - 1))


def per_channel(tensor, bits):
    largest = tensor.abs().amax(1, keepdim=True)
    return rounded(tensor, largest / (2 ** (bits - 1) - 1))


def to_codebook(tensor, bits):
    """Rounded to quantiles, which are not evenly spaced."""
    book = tensor.flatten().quantile(torch.linspace(0, 1, 2**bits))
    return book[torch.bucketize(tensor, (book[1:] + book[:-1]) / 2)]


WEIGHT = torch.randn(40, 300, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("way", [per_tensor, per_channel, to_codebook])
@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_weights_are_on_few_levels(way, bits):
    copy = way(WEIGHT, bits)
    assert levels.on_few_levels([copy])
    assert levels.agreement([copy], [WEIGHT]) > 0.999
    near = WEIGHT + 0.3 * (copy - WEIGHT).std() * torch.randn(WEIGHT.shape)
    assert levels.agreement([copy], [near]) < 0.99


@pytest.mark.parametrize(
    "tensor",
    [
        WEIGHT,
        WEIGHT.half(),
        WEIGHT.bfloat16(),
        WEIGHT.double(),
        torch.zeros(40, 300),  # a constant says nothing
        WEIGHT.sign(),
        per_tensor(WEIGHT, 8)[:4, :8],  # too few to tell
        torch.randn(1000, 4),
    ],
)
def test_other_weights_are_not(tensor):
    assert not levels.on_few_levels([tensor])


def test_most_weights_decide():
    copy = per_tensor(WEIGHT, 8)
    assert levels.on_few_levels([copy, WEIGHT[:10], WEIGHT[0]])
    assert not levels.on_few_levels([copy[:10], WEIGHT])
    assert not levels.on_few_levels([])
    assert np.isnan(levels.agreement([WEIGHT], [WEIGHT]))


# --- one checkpoint in short ----------------------------------------------------


def test_points_keep_the_distances_of_the_weights():
    rng = np.random.default_rng(0)
    vectors = 0.7 + rng.normal(size=(5, SIZE)).astype(np.float32)
    points = np.stack([summary("", net(v), 5).point for v in vectors])
    true = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
    np.testing.assert_allclose(distances(points), true, rtol=1e-4)
    np.testing.assert_allclose(distances(points[:2], points), true[:2], rtol=1e-4)


def test_short_steps_far_from_the_origin_are_measured():
    rng = np.random.default_rng(0)
    start = 1e3 + rng.normal(size=SIZE)
    step = rng.normal(size=SIZE)
    points = np.stack([start, start + 1e-6 * step, start + 2e-6 * step])
    found = distances(points)[0, 1:] / np.linalg.norm(step)
    np.testing.assert_allclose(found, [1e-6, 2e-6], rtol=1e-4)


def test_architecture_is_names_and_shapes_in_any_precision():
    state = net(torch.randn(SIZE))
    same = summary("", state, 1)
    half = summary("", {name: t.half() for name, t in state.items()}, 1)
    counted = summary("", state | {"steps": torch.tensor(5)}, 1)
    other = summary(
        "", {"c.weight": state["a.weight"], "b.weight": state["b.weight"]}, 1
    )
    assert same.architecture == half.architecture == counted.architecture
    assert same.identity == counted.identity != half.identity
    assert other.architecture != same.architecture
    turned = state | {"a.weight": state["a.weight"].view(50, 30)}
    assert summary("", turned, 1).architecture != same.architecture


def test_running_statistics_are_not_compared_but_tell_files_apart():
    layer = torch.nn.BatchNorm1d(4)
    before = summary("", layer.state_dict(), 1)
    layer(torch.randn(8, 4))
    after = summary("", layer.state_dict(), 1)
    assert list(compared(layer.state_dict())) == ["weight", "bias"]
    assert before.identity != after.identity
    assert distances(np.stack([before.point, after.point]))[0, 1] == 0
    statistics = {"running_mean": torch.zeros(3), "running_var": torch.ones(3)}
    assert list(compared(statistics)) == list(statistics)  # there is nothing else


def test_empty_and_scalar_tensors_do_no_harm():
    state = {"empty": torch.zeros(0), "scale": torch.tensor(2.0)} | net(
        torch.ones(SIZE)
    )
    found = summary("", state, 1)
    assert found.sizes == (0, 1, 1500, 500)
    assert np.isfinite(found.point).all()


# --- copies -----------------------------------------------------------------------


def copies_among(*states):
    """Kind of copy and index of the original, by index."""
    seen = [summary(str(k), state, len(states)) for k, state in enumerate(states)]
    points = np.stack([each.point for each in seen])
    found = find_copies(seen, points, lambda path: states[int(path)])
    return {k: (copy.kind, copy.original) for k, copy in found.items()}


def cast(state, dtype):
    return {name: tensor.to(dtype) for name, tensor in state.items()}


@pytest.fixture
def path():
    """Ten checkpoints with very short steps."""
    rng = np.random.default_rng(0)
    return [net(point) for point in walk(rng, 10, first=1e-4, slowing=1.0)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_copies_find_their_original(path, dtype):
    assert copies_among(*path, cast(path[4], dtype)) == {10: ("half-precision copy", 4)}


def test_a_run_in_half_precision_is_no_heap_of_copies(path):
    longer = [net(10_000 * torch.cat([t.flatten() for t in s.values()])) for s in path]
    assert copies_among(*[cast(state, torch.float16) for state in longer[:3]]) == {}
    assert copies_among(longer[0], cast(longer[3], torch.float16)) == {}


def test_copies_of_float64_and_mixed_precision(path):
    double = cast(path[0], torch.float64)
    double["a.weight"] = double["a.weight"] + 1e-9
    mixed = double | {"b.weight": double["b.weight"].half()}
    assert copies_among(double, cast(double, torch.float32), mixed) == {
        1: ("single-precision copy", 0),
        2: ("half-precision copy", 0),
    }


def test_quantised_copies_find_their_original(path):
    copy = {name: per_channel(tensor, 8) for name, tensor in path[6].items()}
    assert copies_among(*path, copy) == {10: ("quantised copy", 6)}


def test_neighbours_of_a_missing_original_are_none():
    rng = np.random.default_rng(0)
    states = [net(point) for point in walk(rng, 6, first=3e-3, slowing=1.0)]
    copy = {name: per_channel(tensor, 8) for name, tensor in states[3].items()}
    del states[3]
    assert copies_among(*states, copy) == {}


def test_eight_bit_floats_are_quantised_copies(path):
    copy = cast(path[2], torch.float8_e4m3fn)
    assert copies_among(path[2], copy) == {1: ("quantised copy", 0)}


def test_duplicates_and_their_copies(path):
    half = cast(path[1], torch.float16)
    assert copies_among(path[1], path[1], half, half) == {
        1: ("duplicate", 0),
        2: ("half-precision copy", 0),
        3: ("duplicate", 2),
    }


# --- families --------------------------------------------------------------------


def family_of(points):
    points = np.asarray(points)
    return families(points, np.ones((len(points), 1)), [points.shape[1]]).tolist()


def test_runs_are_told_apart_without_their_number():
    rng = np.random.default_rng(0)
    runs = [walk(rng, n) for n in (10, 1, 7, 1)]
    assert family_of(np.concatenate(runs)) == [0] * 10 + [1] + [2] * 7 + [3]


def test_one_run_alone_is_one_family():
    assert family_of(walk(np.random.default_rng(0), 8)) == [0] * 8
    assert family_of(np.ones((1, 5))) == [0]


def test_the_scale_of_weights_does_not_matter():
    path = walk(np.random.default_rng(0), 6)
    assert family_of(path * np.geomspace(1, 1e-6, 6)[:, None]) == [0] * 6


def test_weights_without_direction_are_related_to_none():
    path = walk(np.random.default_rng(0), 3)
    zeros = np.zeros((2, SIZE))
    assert family_of(np.concatenate([zeros, path])) == [0, 1, 2, 2, 2]


def test_least_cosine():
    # two tensors of 100 and 400 weights with half of the squares each
    assert least_cosine([[0.5, 0.5]], [100, 400]) == pytest.approx(
        6 * (0.25 / 100 + 0.25 / 400) ** 0.5
    )
    assert least_cosine([[1.0]], [10**9]) == 0.1
    assert least_cosine([[1.0]], [4]) == 0.8


def test_chance_stays_below_the_least_cosine():
    units = np.random.default_rng(0).normal(size=(300, 500))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    cosines = np.triu(units @ units.T, 1)
    assert abs(cosines).max() < least_cosine(np.ones((300, 1)), [500])


# --- trees --------------------------------------------------------------------------


def parents(points, seed=0):
    """Each point's parent as found, -1 for roots, and the strands."""
    heap = np.random.default_rng(seed).permutation(len(points))
    strands = grow(distances(np.asarray(points)[heap]))
    found = np.full(len(points), -2)
    for strand in strands:
        found[heap[strand.order]] = [
            heap[strand.parent] if strand.parent >= 0 else -1,
            *heap[strand.order[:-1]],
        ]
    return found.tolist(), strands


@pytest.mark.parametrize("n", [1, 3, 4, 10, 40])
def test_a_single_run_is_one_strand_in_order(n):
    points = walk(np.random.default_rng(n), n, slowing=0.9)
    found, strands = parents(points)
    assert found == list(range(-1, n - 1))
    assert len(strands) == 1


def test_two_checkpoints_are_linked_with_half_confidence():
    _, (strand,) = parents(walk(np.random.default_rng(0), 2))
    assert np.isnan(strand.confidence[0])
    assert strand.confidence[1] == 0.5


def test_noise_about_a_moving_point_makes_no_branches():
    rng = np.random.default_rng(0)
    points = walk(rng, 40, drift=1.0, slowing=0.9) + rng.normal(size=(40, SIZE))
    assert len(parents(points)[1]) == 1


@pytest.mark.parametrize("left_at", [3, 6, 9])
@pytest.mark.parametrize("length", [1, 2, 8])
def test_a_branch_leaves_where_it_left(left_at, length):
    rng = np.random.default_rng(left_at)
    trunk = walk(rng, 14, slowing=0.95)
    branch = walk(rng, length, trunk[left_at], first=0.4)
    found, strands = parents(np.concatenate([trunk, branch]))
    n = len(trunk)
    assert found == [*range(-1, n - 1), left_at, *range(n, n + length - 1)]
    assert [len(strand.order) for strand in strands] == [n, length]


def test_branches_of_branches_and_several_from_one_checkpoint():
    rng = np.random.default_rng(5)
    trunk = walk(rng, 12, slowing=0.95)
    first = walk(rng, 8, trunk[5], first=0.4, slowing=0.95)
    more = [walk(rng, 3, trunk[5], first=0.5) for _ in range(2)]
    of_first = walk(rng, 4, first[3], first=0.4)
    found, strands = parents(np.concatenate([trunk, first, *more, of_first]))
    assert len(strands) == 5
    assert [found[k] for k in (12, 20, 23, 26)] == [5, 5, 5, 15]
    assert found[0] == -1


def test_a_branch_with_long_steps_is_not_the_root():
    rng = np.random.default_rng(1)
    trunk = walk(rng, 12, slowing=0.8)
    found, _ = parents(np.concatenate([trunk, walk(rng, 2, trunk[7], first=1.0)]))
    assert found[0] == -1
    assert found[12:] == [7, 12]


def test_twins_have_one_parent():
    # the branch shares the drift: its first checkpoint is next to the trunk's
    rng = np.random.default_rng(2)
    trunk = walk(rng, 10, drift=1.0, slowing=1.0)
    drift = (trunk[-1] - trunk[0]) / 9
    branch = trunk[4] + drift + 0.35 * rng.normal(size=SIZE)
    away = walk(rng, 4, branch, drift=0.0, first=0.6, slowing=1.0)
    found, _ = parents(np.concatenate([trunk, branch[None], away]))
    assert found[10] == 4


def trees(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    trunk = walk(rng, draw(st.integers(3, 12)), size=300)
    left = trunk[draw(st.integers(0, len(trunk) - 1))]
    branch = walk(rng, draw(st.integers(1, 5)), left, first=0.4, size=300)
    return distances(np.concatenate([trunk, branch]))


@settings(max_examples=25, deadline=None)
@given(st.composite(trees)(), st.integers(0, 100), st.sampled_from([1e-6, 0.5, 1e4]))
def test_order_of_input_and_scale_change_nothing(D, seed, scale):
    heap = np.random.default_rng(seed).permutation(len(D))
    shuffled = grow(scale * D[np.ix_(heap, heap)])
    plain = grow(D)
    assert sorted(np.concatenate([s.order for s in plain])) == list(range(len(D)))
    assert [s.order.tolist() for s in plain] == [
        heap[s.order].tolist() for s in shuffled
    ]
    for one, other in zip(plain, shuffled, strict=True):
        assert one.parent == (heap[other.parent] if other.parent >= 0 else -1)
        np.testing.assert_allclose(one.confidence, other.confidence, rtol=1e-6)
        sure = one.confidence[~np.isnan(one.confidence)]
        assert ((sure >= 0) & (sure <= 1)).all()


def test_equal_points_do_no_harm():
    points = walk(np.random.default_rng(0), 6)
    D = distances(points[[0, 1, 1, 2, 3, 3, 4, 5]])
    (strand,) = grow(D)
    assert sorted(strand.order) == list(range(8))
    assert np.isfinite(strand.confidence[1:]).all()
    assert len(grow(np.zeros((4, 4)))[0].order) == 4


# --- trials --------------------------------------------------------------------------


def test_trials_count_what_is_found():
    rng = np.random.default_rng(0)
    trunks = np.stack([walk(rng, 10, slowing=0.95) for _ in range(3)])
    branches = np.stack([walk(rng, 4, trunk[5], first=0.5) for trunk in trunks])
    found, links = branch_trials(trunks, 5, branches)
    assert found.drop(columns="strands").all(axis=None)
    assert (found["strands"] == 2).all()
    assert links["right"].all()
    assert links.groupby("kind").size().to_dict() == {"branch": 3, "step": 36}
    alone, _ = branch_trials(trunks, 0, trunks[:, :0])
    assert (alone["strands"] == 1).all()
    assert not alone["parent"].any()
    wrong, _ = branch_trials(trunks, 2, branches)
    assert not wrong["parent"].any()


def test_trials_of_families():
    rng = np.random.default_rng(0)
    points = np.concatenate([walk(rng, 5) for _ in range(4)])
    found = relatives(points, np.repeat(range(4), 5), Layout.of(net(points[0])))
    assert (found.families, found.purity) == (4, 1.0)
    assert found.others < found.least < found.own
