"""Slices of many nets: against numpy, inside their parts, all places alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from nwslib.features.groups import bounds
from nwslib.meta.weight_store import WeightStore
from nwslib.nws.architecture import Architecture
from nwslib.zoo import Zoo, ZooWriter

ARCHITECTURES = (Architecture(3, 3, 3, 16, 64), Architecture(3, 4, 4, 16, 64))
RUNS, SNAPSHOTS = (4, 7, 1), (0, 3, 19)


def vectors_of(run):
    """A run's architecture and weights [snapshots, d], different everywhere."""
    architecture = ARCHITECTURES[run % 2]
    rng = np.random.default_rng(run)
    size = (len(SNAPSHOTS), architecture.n_weights)
    return architecture, rng.standard_normal(size).astype(np.float32)


def write_zoo(path, runs=RUNS, spoiled=None):
    layouts = {each.name: each.layout for each in ARCHITECTURES}
    with ZooWriter.create(path, layouts, spec={}, snapshots=SNAPSHOTS) as writer:
        for run in runs:
            architecture, vectors = vectors_of(run)
            if run == spoiled:
                vectors[1, 17] = np.nan
            scores = {"split": "test", "accuracy": 0.1, "loss": 1.0}
            writer.add(
                [{"run": run, "seed": 0, "layout": architecture.name}],
                [torch.from_numpy(vectors)],
                [{"run": run, "epoch": 0} | scores],
            )
    return Zoo.open(path)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return write_zoo(tmp_path_factory.mktemp("store") / "zoo")


@pytest.fixture(scope="module", params=["memory", "file"])
def store(zoo, request, tmp_path_factory):
    if request.param == "memory":
        return WeightStore.of_zoo(zoo)
    return WeightStore.of_zoo(zoo, file=tmp_path_factory.mktemp("map") / "flat.bin")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reference_row(store, row):
    """A row's vector and architecture, from what was written."""
    run, snapshot = store.index.loc[row, ["run", "snapshot"]]
    architecture, vectors = vectors_of(run)
    return architecture, vectors[SNAPSHOTS.index(snapshot)]


def start_of(vector, piece):
    """Where a slice begins in a vector: its first two weights occur only there."""
    (found,) = np.flatnonzero((vector[:-1] == piece[0]) & (vector[1:] == piece[1]))
    return found


def test_rows_are_the_zoos_vectors_side_by_side(store):
    assert store.index["run"].tolist() == [run for run in RUNS for _ in SNAPSHOTS]
    assert store.index["snapshot"].tolist() == [*SNAPSHOTS] * len(RUNS)
    assert len(store) == 9
    assert store.index["start"].tolist() == [0, *store.index["stop"][:-1]]
    assert len(store.flat) == store.index["stop"].iloc[-1]
    for row, place in store.index.iterrows():
        architecture, vector = reference_row(store, row)
        stored = store.flat[place.start : place.stop]
        np.testing.assert_array_equal(stored.numpy(), vector)
        assert place.conv_stop - place.start == architecture.n_conv_weights


@pytest.mark.parametrize("part", ["all", "conv", "fc"])
@pytest.mark.parametrize("size", [2, 100, 1500])
def test_a_batch_is_slices_cut_one_by_one(store, part, size):
    values, rows = store.slices(generator(size), 60, size, part)
    assert values.shape == (60, size) and values.dtype == torch.float32
    assert rows.shape == (60,) and rows.dtype == torch.int64
    assert set(rows.tolist()) == set(range(9))
    for value, row in zip(values.numpy(), rows.tolist(), strict=True):
        architecture, vector = reference_row(store, row)
        first, stop = bounds(architecture.layout, part)
        start = start_of(vector, value)
        assert first <= start <= stop - size
        np.testing.assert_array_equal(value, vector[start : start + size])


def test_rows_may_be_given(store):
    values, rows = store.slices(generator(), 40, 50, rows=[8, 2])
    assert set(rows.tolist()) == {2, 8}
    again = store.slices_of(rows, generator(1), 50)
    for value, row in zip(again.numpy(), rows.tolist(), strict=True):
        start_of(reference_row(store, row)[1], value)
    np.testing.assert_array_equal(
        store.slices_of(rows.numpy(), generator(1), 50), again
    )


def test_memory_and_file_give_the_same(zoo, tmp_path):
    memory = WeightStore.of_zoo(zoo)
    mapped = WeightStore.of_zoo(zoo, file=tmp_path / "flat.bin")
    assert torch.equal(memory.flat, mapped.flat)
    assert memory.index.equals(mapped.index)
    assert (tmp_path / "flat.bin").stat().st_size == 4 * len(memory.flat)
    for part in ("all", "conv", "fc"):
        one, other = (s.slices(generator(3), 20, 99, part) for s in (memory, mapped))
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    mapped.flat[0] = 7  # the map is private
    again = np.fromfile(tmp_path / "flat.bin", np.float32)
    np.testing.assert_array_equal(again, memory.flat)


def test_a_seed_says_which_slices(store):
    one, same, other = (store.slices(generator(s), 30, 64) for s in (5, 5, 6))
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    store.slices(generator(), 3, 10)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("part", ["all", "conv", "fc"])
def test_all_rows_and_places_are_alike(zoo, part):
    store = WeightStore.of_zoo(zoo, runs=[4, 7], snapshots=[0])
    # A part of few places: weights are their own numbers, so a slice tells its start.
    store = WeightStore(torch.arange(len(store.flat)).float(), store.index)
    rows = store.index[["start", "conv_stop", "stop"]].to_numpy()
    first, stop = rows[:, {"all": [0, 2], "conv": [0, 1], "fc": [1, 2]}[part]].T
    size = int((stop - first).min()) - 9
    n = 10_000
    values, drawn = store.slices(generator(0), n, size, part)
    starts = values[:, 0].long().numpy()
    drawn = drawn.numpy()
    assert stats.chisquare(np.bincount(drawn, minlength=2)).pvalue > 0.001
    for row in (0, 1):
        places = starts[drawn == row] - first[row]
        n_places = stop[row] - first[row] - size + 1
        assert places.min() == 0 and places.max() <= n_places - 1
        if n_places == 10:  # the shorter net: each place is drawn often
            counts = np.bincount(places, minlength=10)
            assert stats.chisquare(counts).pvalue > 0.001
        else:
            p = stats.kstest((places + 0.5) / n_places, "uniform").pvalue
            assert p > 0.001


@pytest.mark.parametrize("part", ["all", "conv", "fc"])
def test_a_grid_goes_from_end_to_end_of_a_part(store, part):
    found = store.grid([5, 0], [0, 0.25, 1], 700, part)
    assert found.shape == (2, 3, 700)
    for values, row in zip(found.numpy(), [5, 0], strict=True):
        architecture, vector = reference_row(store, row)
        first, stop = bounds(architecture.layout, part)
        for value, share in zip(values, [0, 0.25, 1], strict=True):
            start = first + round(share * (stop - first - 700))
            np.testing.assert_array_equal(value, vector[start : start + 700])


def test_a_slice_may_be_the_whole_vector(zoo):
    store = WeightStore.of_zoo(zoo, runs=[4])
    size = ARCHITECTURES[0].n_weights
    values, rows = store.slices(generator(), 10, size)
    assert torch.equal(values, store.flat.view(3, size)[rows])
    assert torch.equal(store.grid([1], [0, 0.5, 1], size)[0], values.new_tensor(
        vectors_of(4)[1][1]).expand(3, -1))  # fmt: skip


def test_some_runs_snapshots_and_kinds(zoo):
    store = WeightStore.of_zoo(zoo, runs=[1, 4], snapshots=[19, 0], kinds=["weight"])
    assert store.index[["run", "snapshot"]].to_numpy().tolist() == [
        [1, 19], [1, 0], [4, 19], [4, 0],
    ]  # fmt: skip
    for row, place in store.index.iterrows():
        architecture, vector = reference_row(store, row)
        pieces = [p for p in architecture.layout if p.kind == "weight"]
        expected = np.concatenate([vector[p.start : p.stop] for p in pieces])
        np.testing.assert_array_equal(store.flat[place.start : place.stop], expected)
        n_conv = sum(p.size for p in pieces if p.layer.startswith("conv"))
        assert place.conv_stop - place.start == n_conv


def test_kinds_keep_the_order_of_the_vector(zoo):
    both = WeightStore.of_zoo(zoo, [4], [0], kinds=["bias", "weight"])
    assert torch.equal(
        both.flat, WeightStore.of_zoo(zoo, [4], [0], kinds=["weight", "bias"]).flat
    )
    architecture, vector = reference_row(both, 0)
    stop = architecture.layout.slices[1].stop  # of conv1's weights and biases
    np.testing.assert_array_equal(both.flat[:stop], vector[:stop])


def test_one_run_is_in_memory_at_a_time(zoo, monkeypatch, tmp_path):
    asked, read = [], Zoo.weights
    monkeypatch.setattr(
        Zoo,
        "weights",
        lambda zoo, runs, *a: (asked.append(runs), read(zoo, runs, *a))[1],
    )
    WeightStore.of_zoo(zoo)
    WeightStore.of_zoo(zoo, file=tmp_path / "flat.bin")
    assert asked == [[run] for run in RUNS] * 2


SHORTEST = ARCHITECTURES[0].n_conv_weights


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.slices(generator(), 2, 0), "size is 0: a slice has at least"),
        (lambda s: s.slices(generator(), 2, 5, "bn"), "unknown part 'bn': choose one"),
        (lambda s: s.slices(generator(), 2, 5, rows=[]), "no rows to take slices from"),
        (lambda s: s.slices(generator(), 2, 5, rows=[9]), "no row 9 in a store of 9"),
        (lambda s: s.slices_of([0, -1], generator(), 5), "no row -1 in a store of 9"),
        (
            lambda s: s.slices(generator(), 2, SHORTEST + 1, "conv"),
            f"part 'conv' of run 4 has {SHORTEST} weights, fewer than a slice of "
            f"{SHORTEST + 1}: choose shorter slices, or other runs",
        ),
        (lambda s: s.grid([0], [0, 1.1], 5), "positions are shares: give numbers from"),
        (lambda s: s.grid([0], [np.nan], 5), "positions are shares"),
        (lambda s: s.grid([0], [1], 10**6), "part 'all' of run 4 has .* slice of 1000"),
    ],
)
def test_errors_say_what_to_do(store, call, message):
    with pytest.raises(ValueError, match=message):
        call(store)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runs": [99]}, "no run 99 in zoo"),
        ({"runs": []}, "no runs were asked for"),
        ({"snapshots": [1]}, "no snapshot 1 in zoo"),
        ({"snapshots": []}, "no snapshots were asked for: give one at least"),
        ({"kinds": []}, "no kinds of weights were asked for: give one at least"),
        ({"kinds": ["weights"]}, "no kind 'weights' in this layout"),
        ({"device": "abacus"}, "device 'abacus' is not available here"),
    ],
)
def test_errors_of_what_is_asked_for(zoo, arguments, message):
    with pytest.raises(ValueError, match=message):
        WeightStore.of_zoo(zoo, **arguments)


def test_a_weight_that_is_not_finite_is_refused_and_no_file_left(tmp_path):
    zoo = write_zoo(tmp_path / "zoo", (4, 1), spoiled=1)
    assert len(WeightStore.of_zoo(zoo, runs=[4])) == 3
    for file in (None, tmp_path / "flat.bin"):
        with pytest.raises(ValueError, match="run 1 has weights that are not finite"):
            WeightStore.of_zoo(zoo, file=file)
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]


def test_a_file_that_cannot_be_written_is_an_error(zoo, tmp_path):
    with pytest.raises(OSError, match="no-folder"):
        WeightStore.of_zoo(zoo, file=tmp_path / "no-folder" / "flat.bin")


def test_several_zoos_are_one_store_with_numbers_of_their_own(tmp_path, zoo):
    other = write_zoo(tmp_path / "other", runs=(1, 2))
    alone, second = WeightStore.of_zoo(zoo, [7, 4]), WeightStore.of_zoo(other)
    both = WeightStore.of_zoos(
        {0: (zoo, [7, 4]), 1000: (other, None)}, file=tmp_path / "flat.bin"
    )
    assert torch.equal(both.flat, torch.cat([alone.flat, second.flat]))
    runs = both.index["run"].unique().tolist()
    assert runs == [7, 4, 1001, 1002]
    row = len(alone) + 4  # the second snapshot of run 1002
    assert np.array_equal(
        both.slices_of([row], generator(), both.index["stop"][row]
                       - both.index["start"][row])[0].numpy(),
        vectors_of(2)[1][1],
    )  # fmt: skip


def test_zoos_whose_runs_have_one_number_are_refused(zoo):
    with pytest.raises(ValueError, match="two zoos have a run 5: give numbers to add"):
        WeightStore.of_zoos({1: (zoo, [4]), 4: (zoo, [1])})
