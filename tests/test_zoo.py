from __future__ import annotations

import json
import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nwslib.flatten import Layout
from nwslib.nets import A2
from nwslib.zoo import Zoo, ZooWriter, verify

LAYOUT = Layout.of(torch.nn.Linear(3, 2))  # 8 weights
OTHER_LAYOUT = Layout.of(torch.nn.Linear(3, 2, bias=False))
KIND = {"spec": {"net": "tiny", "lr": [0.1, 0.2]}, "snapshots": [0, 1, 5]}
N_RUNS = 4  # in two shards of two


def vectors(ids: list[int], n_weights: int = LAYOUT.size) -> np.ndarray:
    """Weights [runs, 3, n_weights] that follow from the run's id alone."""
    return np.stack(
        [np.random.default_rng(i).standard_normal((3, n_weights)) for i in ids]
    ).astype(np.float32)


def shard(ids: list[int], n_weights: int = LAYOUT.size) -> dict:
    runs = [
        {"run": i, "seed": 10 + i, "diverged": False, "lr": 0.1 * i, "opt": "sgd"}
        for i in ids
    ]
    history = [
        {"run": i, "epoch": e, "split": s, "accuracy": i / 7 + e / 70, "loss": e / 3}
        for i in ids
        for e in range(3)
        for s in ("train", "test")
    ]
    weights = vectors(ids, n_weights)
    return {"runs": runs, "weights": weights, "history": pd.DataFrame(history)}


def fill(writer: ZooWriter) -> None:
    """Add what is missing of the four runs, two in a shard."""
    for first in range(0, N_RUNS, 2):
        if first not in writer.run_ids:
            writer.add(**shard([first, first + 1]))


def grow(path: Path) -> None:
    """Create the zoo, or continue it, and finish it."""
    start = ZooWriter.resume if (path / "zoo.json").exists() else ZooWriter.create
    with start(path, LAYOUT, **KIND) as writer:
        fill(writer)


def assert_whole(path: Path) -> None:
    """Check that the zoo is complete, sound and holds exactly the four runs."""
    assert verify(path) == []
    zoo = Zoo.open(path, LAYOUT)
    ids = list(range(N_RUNS))
    pd.testing.assert_frame_equal(
        zoo.runs, pd.DataFrame(shard(ids)["runs"])[zoo.runs.columns]
    )
    pd.testing.assert_frame_equal(zoo.history, shard(ids)["history"])
    np.testing.assert_array_equal(zoo.weights(), vectors(ids))
    assert {str(f.relative_to(path)) for f in path.rglob("*") if f.is_file()} == {
        "zoo.json",
        ".lock",
        "runs.parquet",
        "history.parquet",
        *(f"weights/shard-{i:05d}.safetensors" for i in range(2)),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A finished zoo."""
    grow(tmp_path / "zoo")
    return tmp_path / "zoo"


def test_round_trip(path: Path) -> None:
    assert_whole(path)
    zoo = Zoo.open(path)
    assert len(zoo) == N_RUNS
    assert zoo.complete
    assert zoo.layout == LAYOUT
    assert zoo.spec == KIND["spec"]
    assert zoo.snapshots == (0, 1, 5)


def test_real_net_round_trip(tmp_path: Path) -> None:
    net = A2()
    layout = Layout.of(net)
    weights = layout.flatten(net).expand(1, 3, -1)
    with ZooWriter.create(tmp_path, layout, **KIND) as writer:
        writer.add(**shard([0]) | {"weights": weights})
    zoo = Zoo.open(tmp_path, layout)
    restored = layout.unflatten(torch.from_numpy(zoo.weights()[0, 0]))
    for name, tensor in net.state_dict().items():
        assert torch.equal(restored[name], tensor)


@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_any_layout_and_any_weights_come_back(data, tmp_path_factory) -> None:
    names = data.draw(
        st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4, unique=True)
    )
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)
    layout = Layout.of({name: torch.zeros(data.draw(shapes)) for name in names})
    dtype = data.draw(st.sampled_from(["float32", "float16"]))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    epochs = data.draw(
        st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True)
    )
    shape = (sum(sizes), len(epochs), layout.size)
    width = int(dtype.removeprefix("float"))
    weights = data.draw(hnp.arrays(dtype, shape, elements=st.floats(width=width)))
    path = tmp_path_factory.mktemp("zoo")
    with ZooWriter.create(
        path, layout, spec={}, snapshots=sorted(epochs), dtype=dtype
    ) as writer:
        first = 0
        for size in sizes:
            ids = list(range(first, first + size))
            writer.add(**shard(ids) | {"weights": weights[ids]})
            first += size
    zoo = Zoo.open(path, layout)
    assert verify(path) == []
    assert zoo.weights().dtype == np.float32
    np.testing.assert_array_equal(zoo.weights(), weights.astype(np.float32))
    finite = np.isfinite(weights).all((1, 2))
    assert zoo.runs["diverged"].tolist() == (~finite).tolist()


def test_weights_come_in_the_order_asked_for(path: Path) -> None:
    zoo = Zoo.open(path)
    expected = vectors([3, 0, 2, 3])[:, [2, 0]]
    np.testing.assert_array_equal(zoo.weights([3, 0, 2, 3], [5, 0]), expected)
    assert zoo.weights([]).shape == (0, 3, LAYOUT.size)
    assert zoo.weights(snapshots=[]).shape == (N_RUNS, 0, LAYOUT.size)


def test_only_the_shards_asked_for_are_read(path: Path) -> None:
    (path / "weights/shard-00001.safetensors").unlink()
    np.testing.assert_array_equal(Zoo.open(path).weights([1, 0]), vectors([1, 0]))


def test_select(path: Path) -> None:
    zoo = Zoo.open(path)
    assert zoo.select() == list(range(N_RUNS))
    assert zoo.select(opt="sgd", seed=13) == [3]
    assert zoo.select(diverged=True) == []


def test_float16_halves_the_precision_not_the_type_read(tmp_path: Path) -> None:
    with ZooWriter.create(tmp_path, LAYOUT, **KIND, dtype="float16") as writer:
        fill(writer)
    weights = Zoo.open(tmp_path).weights()
    expected = vectors(list(range(N_RUNS))).astype(np.float16)
    np.testing.assert_array_equal(weights, expected.astype(np.float32))


def test_float16_overflow_is_refused_and_nothing_stored(tmp_path: Path) -> None:
    rows = shard([0, 1])
    rows["weights"][1, 2, 3] = -7e4
    with ZooWriter.create(tmp_path, LAYOUT, **KIND, dtype="float16") as writer:
        with pytest.raises(ValueError, match=r"run 1 has a weight of -7e\+04.*float32"):
            writer.add(**rows)
        assert writer.run_ids == ()
        fill(writer)
    assert len(Zoo.open(tmp_path)) == N_RUNS


def test_diverged_runs_are_stored_and_marked(tmp_path: Path) -> None:
    rows = shard([0, 1, 2])
    rows["weights"][1, 2, 3] = np.nan
    rows["runs"][2]["diverged"] = True  # as the trainer judged it
    with ZooWriter.create(tmp_path, LAYOUT, **KIND) as writer:
        writer.add(**rows)
        del rows["runs"][0]["diverged"]  # optional
        writer.add(**shard([3]) | {"runs": [rows["runs"][0] | {"run": 3}]})
    zoo = Zoo.open(tmp_path)
    assert zoo.select(diverged=True) == [1, 2]
    np.testing.assert_array_equal(zoo.weights([0, 1, 2]), rows["weights"])


# --- a writer that stops, in every way it can


class Killed(BaseException):
    pass


@pytest.mark.hard(
    "a writer stops between any two of its steps",
    "it goes on, or begins anew; no half file is taken for a whole one",
)
def test_killed_between_any_two_steps(tmp_path: Path, monkeypatch) -> None:
    """Stop at every flush (one before and one after each rename), then go on."""
    real, left = os.fsync, 0

    def fsync(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        real(file)

    steps, finished = 0, False
    while not finished:
        path, left = tmp_path / str(steps), steps
        monkeypatch.setattr(os, "fsync", fsync)
        try:
            grow(path)
            finished = True
        except Killed:
            pass
        monkeypatch.setattr(os, "fsync", real)
        if (path / "zoo.json").exists():
            assert verify(path) == []
            n_runs = json.loads((path / "zoo.json").read_text())["n_runs"]
            if n_runs:
                zoo = Zoo.open(path, allow_partial=True)
                ids = list(range(n_runs))
                assert zoo.runs["run"].tolist() == ids
                assert set(zoo.history["run"]) == set(ids)
                np.testing.assert_array_equal(zoo.weights(), vectors(ids))
        grow(path)
        assert_whole(path)
        steps += 1
    # 1 header, 2 shards of 4 files, 3 files to finish; 2 flushes each
    assert steps == 2 * (1 + 2 * 4 + 3) + 1


def write_until_killed(path: Path, started: Event) -> None:
    with ZooWriter.resume(path, LAYOUT, **KIND) as writer:
        started.set()
        while True:
            n_runs = len(writer.run_ids)
            writer.add(**shard([n_runs, n_runs + 1]))


@pytest.mark.hard(
    "kill -9 while a zoo is written",
    "it goes on, or begins anew; no half file is taken for a whole one",
)
def test_kill_9(tmp_path: Path) -> None:
    # Forked from a process that has imported all, so that a writer starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nwslib.zoo"])
    rng = np.random.default_rng()
    ZooWriter.create(tmp_path, LAYOUT, **KIND).close()
    ids: list[int] = []
    for _ in range(5):
        started = context.Event()
        process = context.Process(target=write_until_killed, args=(tmp_path, started))
        process.start()
        assert started.wait(60)
        time.sleep(rng.uniform(0, 0.1))  # the time of a few shards
        process.kill()
        process.join()
        assert verify(tmp_path) == []
        with ZooWriter.resume(tmp_path, LAYOUT, **KIND) as writer:
            assert list(writer.run_ids[: len(ids)]) == ids
            n_runs = len(writer.run_ids)
            writer.add(**shard([n_runs]))
        zoo, ids = Zoo.open(tmp_path), list(range(n_runs + 1))
        assert zoo.runs["run"].tolist() == ids
        pd.testing.assert_frame_equal(zoo.history, shard(ids)["history"])
        np.testing.assert_array_equal(zoo.weights(), vectors(ids))


def test_an_exception_leaves_the_zoo_open_to_be_resumed(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ZooWriter.create(tmp_path, LAYOUT, **KIND) as writer,
    ):
        writer.add(**shard([0, 1]))
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match=r"half-written \(2 runs.*ZooWriter.resume"):
        Zoo.open(tmp_path)
    zoo = Zoo.open(tmp_path, allow_partial=True)
    assert not zoo.complete
    np.testing.assert_array_equal(zoo.weights(), vectors([0, 1]))
    with ZooWriter.resume(tmp_path, LAYOUT, **KIND) as writer:
        assert writer.run_ids == (0, 1)
        fill(writer)
    assert_whole(tmp_path)


def test_a_complete_zoo_can_grow(tmp_path: Path) -> None:
    with ZooWriter.create(tmp_path, LAYOUT, **KIND) as writer:
        writer.add(**shard([0, 1]))
    with ZooWriter.resume(tmp_path, LAYOUT, **KIND):
        pass
    assert len(Zoo.open(tmp_path)) == 2
    grow(tmp_path)
    assert_whole(tmp_path)


def test_a_zoo_without_runs_stays_unfinished(tmp_path: Path) -> None:
    with ZooWriter.create(tmp_path, LAYOUT, **KIND):
        pass
    with pytest.raises(ValueError, match="holds no runs yet.*ZooWriter.resume"):
        Zoo.open(tmp_path, allow_partial=True)
    grow(tmp_path)
    assert_whole(tmp_path)


@pytest.mark.hard(
    "two write one zoo",
    "the second is told to wait",
)
def test_two_writers(tmp_path: Path) -> None:
    with ZooWriter.create(tmp_path, LAYOUT, **KIND) as writer:
        writer.add(**shard([0, 1]))
        with pytest.raises(ValueError, match="another writer is working on.*wait"):
            ZooWriter.resume(tmp_path, LAYOUT, **KIND)
        fill(writer)
    assert_whole(tmp_path)


def test_a_closed_writer_writes_no_more(tmp_path: Path) -> None:
    with ZooWriter.create(tmp_path, LAYOUT, **KIND) as writer:
        writer.add(**shard([0, 1]))
        writer.close(complete=False)
        with pytest.raises(ValueError, match="writer is closed: resume"):
            writer.add(**shard([2, 3]))
    assert not Zoo.open(tmp_path, allow_partial=True).complete


def test_a_refused_writer_frees_the_zoo(path: Path) -> None:
    with pytest.raises(ValueError, match="started differently"):
        ZooWriter.resume(path, OTHER_LAYOUT, **KIND)
    ZooWriter.resume(path, LAYOUT, **KIND).close()


# --- damage

FILES = (
    "runs.parquet",
    "history.parquet",
    "weights/shard-00001.safetensors",
    "zoo.json",
)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def alter(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" \n")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("damage", "word"),
    [(truncate, "truncated"), (alter, "altered"), (Path.unlink, "missing")],
)
def test_verify_names_the_damaged_file(path: Path, name, damage, word) -> None:
    damage(path / name)
    if name == "zoo.json" and word == "missing":
        with pytest.raises(FileNotFoundError, match="no zoo.json"):
            verify(path)
        return
    (problem,) = verify(path)
    assert name in problem
    assert word in problem


def test_verify_names_every_damaged_file(path: Path) -> None:
    truncate(path / FILES[0])
    lengthen(path / FILES[1])
    (path / FILES[2]).unlink()
    problems = verify(path)
    assert len(problems) == 3
    assert all(any(name in problem for problem in problems) for name in FILES[:3])


@pytest.mark.parametrize("name", ["runs.parquet", "history.parquet"])
@pytest.mark.parametrize("damage", [truncate, alter, Path.unlink])
def test_a_damaged_table_is_named_not_read(path: Path, name, damage) -> None:
    damage(path / name)
    for use in (Zoo.open, lambda p: ZooWriter.resume(p, LAYOUT, **KIND)):
        with pytest.raises(ValueError, match=f"damaged: {name} is .*restore"):
            use(path)


@pytest.mark.parametrize("damage", [truncate, lengthen, Path.unlink])
def test_a_damaged_shard_is_named_not_read(path: Path, damage) -> None:
    damage(path / "weights/shard-00001.safetensors")
    with pytest.raises(ValueError, match="damaged: weights/shard-00001.safetensors is"):
        Zoo.open(path).weights()


def test_a_shard_with_an_altered_head_is_named(path: Path) -> None:
    file = path / "weights/shard-00001.safetensors"
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])
    with pytest.raises(ValueError, match="shard-00001.safetensors is altered"):
        Zoo.open(path).weights([2])


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b'{"layout": 1}'])
def test_a_header_that_is_none(path: Path, content: bytes) -> None:
    (path / "zoo.json").write_bytes(content)
    with pytest.raises(ValueError, match="zoo.json is truncated or altered"):
        Zoo.open(path)


# --- one sentence for every misuse


def test_no_zoo_to_open(tmp_path: Path) -> None:
    for use in (Zoo.open, verify, lambda p: ZooWriter.resume(p, LAYOUT, **KIND)):
        with pytest.raises(FileNotFoundError, match=r"no zoo\.json.*ZooWriter.create"):
            use(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"absent \(no such folder\)"):
            use(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_newer_format(path: Path) -> None:
    header = json.loads((path / "zoo.json").read_text())
    (path / "zoo.json").write_text(json.dumps(header | {"format_version": 3}))
    with pytest.raises(ValueError, match="version 3, .*up to version 2: upgrade nwsl"):
        Zoo.open(path)
    assert "upgrade nwslib" in verify(path)[0]


@pytest.mark.parametrize(
    ("layout", "difference"),
    [
        (OTHER_LAYOUT, r"entry 1 is bias \[2\] bias float32 in the zoo and absent"),
        (Layout.of(torch.nn.Linear(3, 4)), r"entry 0 is weight \[2, 3\].*\[4, 3\]"),
        (Layout.of(torch.nn.Linear(3, 2).double()), "entry 0 is .*float32 in.*float64"),
    ],
)
def test_another_architecture(path: Path, layout: Layout, difference: str) -> None:
    with pytest.raises(ValueError, match=f"another architecture .*{difference}"):
        Zoo.open(path, layout)
    with pytest.raises(ValueError, match=f"started differently: layout {difference}"):
        ZooWriter.resume(path, layout, **KIND)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"spec": {"net": "big", "lr": [0.1, 0.2]}}, r"\['net'\] is 'tiny' in.*'big'"),
        ({"spec": {"net": "tiny"}}, r"\['lr'\] is \[0.1, 0.2\] in the zoo and absent"),
        (
            {"spec": KIND["spec"] | {"x": None}},
            r"\['x'\] is absent in the zoo and None",
        ),
        ({"snapshots": [0, 1]}, r"snapshots is \[0, 1, 5\] in the zoo and \[0, 1\]"),
        ({"dtype": "float16"}, "dtype is 'float32' in the zoo and 'float16'"),
    ],
)
def test_resume_as_something_else(path: Path, change: dict, difference: str) -> None:
    with pytest.raises(ValueError, match=f"{difference}.*resume it as it was started"):
        ZooWriter.resume(path, LAYOUT, **KIND | change)
    assert_whole(path)


def test_resume_reads_tuples_as_the_lists_they_become(path: Path) -> None:
    spec = {"lr": (0.1, 0.2), "net": "tiny"}
    ZooWriter.resume(path, LAYOUT, **KIND | {"spec": spec}).close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "int8"}, "unknown dtype 'int8': choose one of"),
        ({"snapshots": []}, "snapshots must be increasing epochs"),
        ({"snapshots": [1, 0]}, "snapshots must be increasing epochs"),
        ({"snapshots": [0, 0]}, "snapshots must be increasing epochs"),
        ({"snapshots": [-1, 0]}, "snapshots must be increasing epochs"),
        ({"spec": {"lr": float("nan")}}, "spec is not plain JSON.*finite"),
        ({"spec": {"net": A2}}, "spec is not plain JSON.*use strings"),
    ],
)
def test_bad_description(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZooWriter.create(tmp_path / "zoo", LAYOUT, **KIND | change)
    assert list(tmp_path.iterdir()) == []


def test_create_where_something_is(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds a zoo already.*ZooWriter.resume"):
        ZooWriter.create(path, LAYOUT, **KIND)
    assert_whole(path)
    letter = tmp_path / "photos" / "letter.txt"
    letter.parent.mkdir()
    letter.touch()
    with pytest.raises(ValueError, match=r"not empty \(it holds 'letter.txt'\)"):
        ZooWriter.create(letter.parent, LAYOUT, **KIND)
    assert list(letter.parent.iterdir()) == [letter]
    with pytest.raises(ValueError, match="is a file: give the name of a folder"):
        ZooWriter.create(letter, LAYOUT, **KIND)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": vectors([2])}, r"shape \[1, 3, 8\], this zoo takes \[2, 3, 8\]"),
        ({"weights": vectors([2, 3], 9)}, r"\[2, 3, 9\], this zoo takes \[2, 3, 8\]"),
        ({"runs": [{"run": 2}, {"run": 3}]}, "runs have no column 'seed'"),
        ({"runs": []}, "runs have no column 'run'"),
        ({"history": [{"run": 2, "epoch": 0}]}, "history have no column 'split'"),
        ({"runs": shard([1, 2])["runs"]}, "run 1 is given twice or in zoo"),
        ({"runs": shard([2, 2])["runs"]}, "run 2 is given twice"),
        (
            {"runs": [{"run": 2.5, "seed": 0}, {"run": 3, "seed": 0}]},
            "run ids must be whole numbers, not float",
        ),
        ({"history": shard([2, 9])["history"]}, "history has rows of runs that are"),
        (
            {"runs": [{"run": 2, "seed": 0}, {"run": 3, "seed": 0}]},
            "column 'lr' is not in both",
        ),
        (
            {"runs": [r | {"momentum": 0.9} for r in shard([2, 3])["runs"]]},
            "column 'momentum' is not in both",
        ),
    ],
)
def test_bad_shard_is_refused_and_nothing_stored(
    tmp_path: Path, change: dict, message: str
) -> None:
    with ZooWriter.create(tmp_path, LAYOUT, **KIND) as writer:
        writer.add(**shard([0, 1]))
        with pytest.raises(ValueError, match=message):
            writer.add(**shard([2, 3]) | change)
        fill(writer)
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda zoo: zoo.weights([4]), "no run 4 in zoo .* its 4 runs, zoo.runs"),
        (lambda zoo: zoo.weights(snapshots=[2]), "no snapshot 2 in .*zoo.snapshots"),
        (lambda zoo: zoo.weights(zoo.runs["lr"] > 0), "must be run ids, not bool"),
        (lambda zoo: zoo.select(momentum=0.9), "no column 'momentum'.*'lr'"),
    ],
)
def test_bad_question(path: Path, use, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        use(Zoo.open(path))


def test_weights_may_lie_in_memory_in_any_order(tmp_path):
    given = shard([0, 1])
    turned = np.asfortranarray(given["weights"])
    with ZooWriter.create(tmp_path / "zoo", LAYOUT, **KIND) as writer:
        writer.add(**given | {"weights": turned})
    np.testing.assert_array_equal(
        Zoo.open(tmp_path / "zoo").weights(), given["weights"]
    )
