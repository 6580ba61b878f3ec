"""Zoos of several architectures, shards in any order, full disks."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nwslib.flatten import Layout
from nwslib.nws.architecture import GRID
from nwslib.zoo import Zoo, ZooWriter, storage, verify, writer

LAYOUTS = {
    "small": Layout.of(torch.nn.Linear(3, 2)),  # 8 weights
    "wide": Layout.of(torch.nn.Linear(5, 4)),  # 24
    "plain": Layout.of(torch.nn.Linear(3, 2, bias=False)),  # 6
}
NAMES = list(LAYOUTS)
KIND = {"spec": {"net": "tiny"}, "snapshots": [0, 1]}
SHARDS = ([0, 1], [2, 3, 4], [5], [6, 7])


def layout_of(run: int) -> str:
    return NAMES[run % len(NAMES)]


def net(run: int) -> np.ndarray:
    """Weights of a run, [2 snapshots, size]; they follow from its id alone."""
    size = LAYOUTS[layout_of(run)].size
    rng = np.random.default_rng(run)
    return rng.standard_normal((2, size)).astype(np.float32)


def shard(ids: Sequence[int]) -> dict:
    runs = [
        {"run": i, "seed": 10 + i, "layout": layout_of(i), "lr": 0.1 * i, "opt": "sgd"}
        for i in ids
    ]
    history = [
        {"run": i, "epoch": e, "split": split, "accuracy": i / 7, "loss": e / 3}
        for split in ("train", "test")  # so that a run's rows are not together
        for i in ids
        for e in range(3)
    ]
    weights = [torch.from_numpy(net(i)) for i in ids]
    return {"runs": runs, "weights": weights, "history": pd.DataFrame(history)}


def start(path: Path, **kind: object) -> ZooWriter:
    """Create the zoo, or continue it."""
    begin = ZooWriter.resume if (path / "zoo.json").exists() else ZooWriter.create
    return begin(path, LAYOUTS, **KIND | kind)


def grow(path: Path, order: Iterable[int] = range(len(SHARDS))) -> None:
    """Add the shards that the zoo has not, numbered, in the given order."""
    with start(path) as zoo:
        for number in order:
            if SHARDS[number][0] not in zoo.run_ids:
                zoo.add(**shard(SHARDS[number]), shard=number)


def contents(path: Path) -> dict[str, object]:
    """Bytes of every file; of the header all but when and where it was written."""
    files: dict[str, object] = {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }
    header = json.loads(files["zoo.json"])
    del header["provenance"], header["sha256"]
    files["zoo.json"] = json.dumps(header)
    return files


@pytest.fixture(autouse=True, scope="module")
def _no_flush() -> Iterator[None]:
    """No power fails here, so that waiting for the disk only takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A finished zoo."""
    grow(tmp_path / "zoo")
    return tmp_path / "zoo"


# --- several layouts


def test_round_trip(path: Path) -> None:
    zoo = Zoo.open(path, LAYOUTS)
    assert verify(path) == []
    assert zoo.layouts == LAYOUTS
    assert zoo.runs["run"].tolist() == list(range(8))
    for name in NAMES:
        runs = zoo.select(layout=name)
        assert runs == [run for run in range(8) if layout_of(run) == name]
        np.testing.assert_array_equal(zoo.weights(runs), [net(run) for run in runs])
    for run in zoo.runs["run"]:  # one at a time, whatever its layout
        np.testing.assert_array_equal(zoo.weights([run], [1])[0], net(run)[1:])
    assert zoo.weights([]).shape[:2] == (0, 2)


def test_a_net_of_each_layout_comes_back(path: Path) -> None:
    zoo = Zoo.open(path)
    for run, name in zip(zoo.runs["run"], zoo.runs["layout"], strict=True):
        state = zoo.layouts[name].unflatten(torch.from_numpy(zoo.weights([run])[0, 1]))
        np.testing.assert_array_equal(
            torch.cat([tensor.flatten() for tensor in state.values()]), net(run)[1]
        )


def test_what_needs_one_layout_says_so(path: Path) -> None:
    zoo = Zoo.open(path)
    with pytest.raises(ValueError, match="zoo .* has 3 layouts: take one from zoo.lay"):
        _ = zoo.layout
    message = r"3 layouts, 'small' and 'wide' among them.*zoo.select\(layout='small'\)"
    with pytest.raises(ValueError, match=message):
        zoo.weights()
    with pytest.raises(ValueError, match="2 layouts, 'plain' and 'small' among"):
        zoo.weights([2, 5, 0])


def version(path: Path) -> int:
    return json.loads((path / "zoo.json").read_text())["format_version"]


def test_one_named_layout_is_a_zoo_like_any_other(tmp_path: Path) -> None:
    small = {"small": LAYOUTS["small"]}
    with ZooWriter.create(tmp_path, small, **KIND) as zoo:
        zoo.add(**shard([0, 3]))
    ZooWriter.resume(tmp_path, small, **KIND).close()
    assert version(tmp_path) == 1
    assert not (tmp_path / "layouts.json").exists()
    zoo = Zoo.open(tmp_path, small)
    assert zoo.layouts == small
    assert zoo.layout == LAYOUTS["small"]
    np.testing.assert_array_equal(zoo.weights(), [net(0), net(3)])


def test_one_layout_without_a_name(tmp_path: Path) -> None:
    """As a header has always been, byte for byte."""
    rows = shard([0, 3])
    for row in rows["runs"]:
        row["layout"] = "a column like any other"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_provenance", lambda device: {"device": device})
        zoo = ZooWriter.create(tmp_path, LAYOUTS["plain"], **KIND)
    assert (tmp_path / "zoo.json").read_text() == textwrap.dedent("""\
        {
         "format_version": 1,
         "layout": [
          {
           "name": "weight",
           "shape": [
            2,
            3
           ],
           "kind": "weight",
           "dtype": "float32"
          }
         ],
         "spec": {
          "net": "tiny"
         },
         "snapshots": [
          0,
          1
         ],
         "dtype": "float32",
         "provenance": [
          {
           "device": "cpu"
          }
         ],
         "n_runs": 0,
         "complete": false,
         "tables": {},
         "files": {},
         "sha256": "SHA256"
        }""").replace(
        "SHA256", json.loads((tmp_path / "zoo.json").read_text())["sha256"]
    )
    with zoo:
        zoo.add(**rows | {"weights": torch.zeros(2, 2, 6)})
    opened = Zoo.open(tmp_path)
    assert opened.layouts == {"": LAYOUTS["plain"]}
    assert opened.layout == LAYOUTS["plain"]
    assert opened.weights().shape == (2, 2, 6)


def test_many_layouts_are_not_written_again_with_each_shard(tmp_path: Path) -> None:
    layouts = {each.name: each.layout for each in GRID}
    name = GRID[0].name
    weights = torch.zeros(1, 2, layouts[name].size)
    with ZooWriter.create(tmp_path, layouts, **KIND) as zoo:
        written = (tmp_path / "layouts.json").stat()
        for run in range(3):
            row = {"run": run, "seed": 0, "layout": name}
            zoo.add([row], weights, shard([run])["history"])
    assert (tmp_path / "layouts.json").stat() == written
    assert written.st_size > 100_000
    assert (tmp_path / "zoo.json").stat().st_size < 4_000
    assert version(tmp_path) == 2
    assert list(Zoo.open(tmp_path).layouts.items()) == list(layouts.items())


@pytest.mark.parametrize(
    ("layouts", "difference"),
    [
        ({n: LAYOUTS[n] for n in NAMES[:2]}, "layout 'plain' is in the zoo and not as"),
        (LAYOUTS | {"odd": LAYOUTS["wide"]}, "layout 'odd' is as given and not in the"),
        (
            LAYOUTS | {"wide": LAYOUTS["plain"]},
            r"layout 'wide' entry 0 is weight \[4, 5\] .* in the zoo and .*\[2, 3\]",
        ),
        (LAYOUTS["small"], "layout 'small' is in the zoo and not as given"),
    ],
)
def test_other_layouts(path: Path, layouts, difference: str) -> None:
    before = contents(path)
    with pytest.raises(ValueError, match=f"another architecture .*{difference}"):
        Zoo.open(path, layouts)
    with pytest.raises(ValueError, match=f"started differently: {difference}"):
        ZooWriter.resume(path, layouts, **KIND)
    assert contents(path) == before


def test_a_name_more_or_less_is_a_difference(tmp_path: Path) -> None:
    small = LAYOUTS["small"]
    ZooWriter.create(tmp_path, small, **KIND).close()
    with pytest.raises(ValueError, match="a layout without name is in the zoo and not"):
        ZooWriter.resume(tmp_path, {"small": small}, **KIND)


@pytest.mark.parametrize("layouts", [{}, {"": LAYOUTS["wide"]}, {3: LAYOUTS["wide"]}])
def test_layouts_without_names(tmp_path: Path, layouts: dict) -> None:
    with pytest.raises(ValueError, match="are not named: give a Layout, or a mapping"):
        ZooWriter.create(tmp_path / "zoo", layouts, **KIND)
    assert list(tmp_path.iterdir()) == []


NO_LAYOUT = [{"run": 2, "seed": 0, "lr": 0.1, "opt": "sgd"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": NO_LAYOUT}, "runs have no column 'layout': add it"),
        (
            {"runs": [NO_LAYOUT[0] | {"layout": "huge"}]},
            "run 2 has the layout 'huge', ",
        ),
        ({"runs": [NO_LAYOUT[0] | {"layout": None}]}, "which is none of the 3 of zoo"),
        ({"weights": [net(2), net(2)]}, "weights of 2 runs are given for 1 rows"),
        (
            {"weights": [net(2)[:1]]},
            r"run 2 have shape \[1, 6\], its layout 'plain' ta",
        ),
        ({"weights": [net(1)]}, r"shape \[2, 24\], .* 'plain' takes \[2, 6\]"),
    ],
)
def test_bad_shard_is_refused_and_nothing_stored(
    tmp_path: Path, change: dict, message: str
) -> None:
    with start(tmp_path) as zoo:
        zoo.add(**shard([0, 1]), shard=0)
        before = contents(tmp_path)
        with pytest.raises(ValueError, match=message):
            zoo.add(**shard([2]) | change, shard=1)
        assert contents(tmp_path) == before
        zoo.add(**shard([2]), shard=1)


# --- shards in any order


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_the_order_of_arrival_leaves_no_trace(data, tmp_path_factory) -> None:
    runs = data.draw(st.permutations(range(9)))  # a shard's runs are not neighbours
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=3, max_size=4))
    ends = np.cumsum(sizes)
    batches = [runs[e - s : e] for s, e in zip(sizes, ends, strict=True) if e <= 9]
    number = st.lists(
        st.integers(0, 10**6), min_size=len(batches), max_size=4, unique=True
    )
    numbers = dict(zip(data.draw(number), batches, strict=False))
    found = []
    for _ in range(2):
        path = tmp_path_factory.mktemp("zoo")
        zoo = start(path)
        for place, shard_number in enumerate(data.draw(st.permutations(list(numbers)))):
            rows = shard(numbers[shard_number])
            if shard_number % 2:  # whole numbers in one shard, others in the next
                rows["runs"] = [row | {"lr": 1} for row in rows["runs"]]
            zoo.add(**rows, shard=shard_number)
            if data.draw(st.booleans()):  # by another writer, the zoo finished or not
                zoo.close(complete=data.draw(st.booleans()) or not place)
                zoo = start(path)
        zoo.close()
        assert verify(path) == []
        found.append(contents(path))
    assert found[0] == found[1]
    stored = sorted(run for batch in numbers.values() for run in batch)
    zoo = Zoo.open(path)
    assert zoo.runs["run"].tolist() == stored
    assert zoo.history["run"].tolist() == np.repeat(stored, 6).tolist()
    assert set(found[0]) == {
        *("zoo.json", ".lock", "layouts.json", "runs.parquet", "history.parquet"),
        *(f"weights/shard-{n:05d}.safetensors" for n in numbers),
    }


def test_a_growing_zoo_is_sorted_too(tmp_path: Path) -> None:
    with start(tmp_path) as zoo:
        for number in (2, 0):
            zoo.add(**shard(SHARDS[number]), shard=number)
        assert zoo.run_ids == (0, 1, 5)
        partial = Zoo.open(tmp_path, allow_partial=True)
        np.testing.assert_array_equal(partial.weights([5]), [net(5)])


def test_shard_numbers(tmp_path: Path) -> None:
    with start(tmp_path) as zoo:
        zoo.add(**shard([0]), shard=7)
        with pytest.raises(ValueError, match="shard 7 is in zoo .* already: give each"):
            zoo.add(**shard([1]), shard=7)
        with pytest.raises(ValueError, match="shard -1 is given: number shards from 0"):
            zoo.add(**shard([1]), shard=-1)
        zoo.add(**shard([1]))  # the next one
    assert {file.name for file in (tmp_path / "weights").iterdir()} == {
        "shard-00007.safetensors",
        "shard-00008.safetensors",
    }


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        ("fast", r"have the column lr \(str\) where those .* have lr \(number\)"),
        (True, r"have .* lr \(bool\) where .* lr \(number\): give every shard"),
        (None, r"have .* lr \(object\) where .*number\): .*NaN for a missing"),
    ],
)
def test_types_that_would_depend_on_the_order(tmp_path: Path, lr, message) -> None:
    rows = shard([2])
    rows["runs"][0]["lr"] = lr
    with start(tmp_path) as zoo:
        zoo.add(**shard([0, 1]), shard=0)
        with pytest.raises(ValueError, match=f"runs of a numbered shard {message}"):
            zoo.add(**rows, shard=1)


def test_columns_in_an_order_of_their_own(tmp_path: Path) -> None:
    rows = shard([2])
    runs = [dict(reversed(rows["runs"][0].items()))]
    history = rows["history"].assign(note="new")
    with start(tmp_path) as zoo:
        zoo.add(**shard([0, 1]), shard=0)
        with pytest.raises(ValueError, match=r"opt \(str\) where .* run \(number\)"):
            zoo.add(**rows | {"runs": runs}, shard=1)
        with pytest.raises(ValueError, match=r"history .* note \(str\) where .* none"):
            zoo.add(**rows | {"history": history}, shard=1)
        zoo.add(**rows | {"runs": runs})  # without a number, as they come


def test_killed_between_any_two_steps(tmp_path: Path, monkeypatch) -> None:
    """Stop at every flush, then go on in another order; the same zoo comes out."""
    whole = tmp_path / "whole"
    grow(whole)
    steps, finished = 0, False
    while not finished:
        path = tmp_path / str(steps)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails_after(steps, Killed))
            try:
                grow(path, (3, 0, 2, 1))
                finished = True
            except Killed:
                pass
        if (path / "zoo.json").exists():
            assert verify(path) == []
        grow(path, (1, 2, 0, 3))
        assert contents(path) == contents(whole)
        shutil.rmtree(path)
        steps += 1
    # 1 header, 1 file of layouts, 4 shards of 4 files, 3 to finish; 2 flushes each
    assert steps == 2 * (2 + 4 * 4 + 3) + 1


class Killed(BaseException):
    pass


def fails_after(steps: int, error: type | BaseException) -> Callable[..., None]:
    """Return an ``os.fsync`` that raises from its ``steps``-th call on."""
    left = steps

    def fsync(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise error

    return fsync


def test_a_shard_that_no_header_names_is_removed(tmp_path: Path) -> None:
    with start(tmp_path) as zoo:
        zoo.add(**shard([0]), shard=0)
    stray, note = (tmp_path / "weights" / n for n in ("shard-00009.safetensors", "txt"))
    for file in (stray, note):
        file.touch()
    start(tmp_path).close()
    assert not stray.exists()
    assert note.exists()


def test_a_layouts_file_of_someone_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "layouts.json").write_text("mine")
    with pytest.raises(ValueError, match=r"not empty \(it holds 'layouts.json'\)"):
        start(tmp_path)
    assert (tmp_path / "layouts.json").read_text() == "mine"


# --- a full disk

FULL = r"cannot be written .*: nothing stored so far is lost; free space and resume\."


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_full_at_any_step(tmp_path: Path, monkeypatch, number: int) -> None:
    whole = tmp_path / "whole"
    grow(whole)
    steps, finished = 0, False
    while not finished:
        path = tmp_path / str(steps)
        with monkeypatch.context() as patch:
            full = OSError(number, os.strerror(number))
            patch.setattr(os, "fsync", fails_after(steps, full))
            try:
                grow(path)
                finished = True
            except OSError as error:
                told = str(error)
                assert told.startswith(f"zoo {path} cannot be written (")
                assert os.strerror(number) in told
                assert "nothing stored so far is lost; free space" in told
        assert not list(path.rglob("*.tmp"))
        if (path / "zoo.json").exists():
            assert verify(path) == []
        grow(path)
        assert contents(path) == contents(whole)
        shutil.rmtree(path)
        steps += 5 if number == errno.EDQUOT else 1
    assert steps > 40


def failing(number: int) -> Callable[..., None]:
    """Return a function that raises this system error."""

    def call(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_a_writer_that_met_a_full_disk_is_closed(tmp_path: Path, monkeypatch) -> None:
    with start(tmp_path) as zoo:
        zoo.add(**shard([0]), shard=0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing(errno.ENOSPC))
            with pytest.raises(OSError, match=FULL):
                zoo.add(**shard([1]), shard=1)
        with pytest.raises(ValueError, match="writer is closed: resume zoo"):
            zoo.add(**shard([1]), shard=1)
    assert not Zoo.open(tmp_path, allow_partial=True).complete
    assert not list(tmp_path.rglob("*.tmp"))


def test_another_failure_keeps_its_words(tmp_path: Path, monkeypatch) -> None:
    with start(tmp_path) as zoo, monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing(errno.EIO))
        with pytest.raises(OSError, match="^.Errno 5. Input/output error"):
            zoo.add(**shard([1]), shard=1)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("step", ["mkdir", "lock"])
def test_no_room_to_begin(tmp_path: Path, monkeypatch, step: str) -> None:
    full = failing(errno.ENOSPC)
    with monkeypatch.context() as patch:
        patch.setattr(
            *(Path, "mkdir") if step == "mkdir" else (storage, "acquire"), full
        )
        with pytest.raises(OSError, match=FULL):
            start(tmp_path / "zoo")
    grow(tmp_path / "zoo")
    assert verify(tmp_path / "zoo") == []


def write_until_full(path: Path, told: multiprocessing.SimpleQueue) -> None:
    try:
        with start(path) as zoo:
            first = len(zoo.run_ids)
            for run in range(first, 10_000):
                zoo.add(**shard([run]), shard=run)
    except OSError as error:
        told.put(str(error))


def test_files_that_may_grow_no_further(tmp_path: Path) -> None:
    """A real limit of the system: the header outgrows it after some shards."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nwslib.zoo"])
    told = context.SimpleQueue()
    process = context.Process(target=limited, args=(tmp_path, told))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert "File too large): nothing stored so far is lost; free space" in told.get()
    stored = len(Zoo.open(tmp_path, allow_partial=True))
    assert stored > 1
    assert verify(tmp_path) == []
    assert not list(tmp_path.rglob("*.tmp"))
    with start(tmp_path) as zoo:
        zoo.add(**shard([stored]), shard=stored)
    np.testing.assert_array_equal(Zoo.open(tmp_path).weights([stored]), [net(stored)])


def limited(path: Path, told: multiprocessing.SimpleQueue) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
    write_until_full(path, told)


IN_A_SMALL_FILE_SYSTEM = """
import sys, pathlib
sys.path.insert(0, sys.argv[2])
import test_zoo_layouts as t
class Told:
    put = print
path = pathlib.Path(sys.argv[1]) / "zoo"
t.write_until_full(path, Told)
assert t.verify(path) == [], t.verify(path)
assert not list(path.rglob("*.tmp"))
stored = t.Zoo.open(path, allow_partial=True).runs["run"].tolist()
assert stored == list(range(len(stored)))
(path.parent / "ballast").unlink()
with t.start(path) as zoo:
    assert list(zoo.run_ids) == stored
    zoo.add(**t.shard([len(stored)]), shard=len(stored))
assert t.verify(path) == [], t.verify(path)
print(len(t.Zoo.open(path)) - len(stored))
"""


@pytest.mark.hard(
    "the disk is full while a zoo is written",
    "one sentence; what was stored stays, and the zoo goes on",
)
def test_a_file_system_without_room(tmp_path: Path) -> None:
    """A real one, in memory, that only the child process sees."""
    mount = "mount -t tmpfs -o size=256k tmpfs $0 && head -c 100k /dev/zero >$0/ballast"
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*alone, mount, tmp_path], capture_output=True).returncode
    ):
        pytest.skip("this system lets a process mount nothing for itself")
    done = subprocess.run(
        [*alone, f'{mount} && exec "$@"', tmp_path, sys.executable, "-c",
         IN_A_SMALL_FILE_SYSTEM, tmp_path, Path(__file__).parent],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, more = done.stdout.splitlines()
    assert "(No space left on device): nothing stored so far is lost" in told
    assert more == "1"


# --- float16


@given(value=st.floats(-65504, 65504, width=32))
@settings(max_examples=500)
def test_error_of_float16(value: float) -> None:
    """What ZooWriter.create says of it."""
    stored = torch.tensor(value, dtype=torch.float32).to(torch.float16).item()
    bound = 2**-11 * abs(value) if abs(value) >= 2**-14 else 2**-25
    assert abs(stored - value) <= bound  # all three are exact in float64


def test_the_error_of_float16_is_reached() -> None:
    halfway = torch.tensor([1 + 2**-11, 2**-25], dtype=torch.float32)
    error = (halfway.double() - halfway.half().double()).abs()
    assert error.tolist() == [2**-11, 2**-25]


def test_float16_of_several_layouts(tmp_path: Path) -> None:
    rows = shard([0, 1, 2])
    with start(tmp_path, dtype="float16") as zoo:
        rows["weights"][1][1, 2] = 1e5
        with pytest.raises(
            ValueError, match=r"run 1 has a weight of 1e\+05, more than"
        ):
            zoo.add(**rows)
        rows["weights"][1][1, 2] = np.inf  # a diverged net's is kept
        zoo.add(**rows)
    zoo = Zoo.open(tmp_path)
    assert verify(tmp_path) == []
    assert zoo.select(diverged=True) == [1]
    np.testing.assert_array_equal(zoo.weights([0])[0], net(0).astype(np.float16))
    assert zoo.weights([1])[0, 1, 2] == np.inf


# --- damage


def alter(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "word"), [(alter, "altered"), (Path.unlink, "miss")]
)
def test_damaged_layouts_are_named_not_read(path: Path, damage, word: str) -> None:
    damage(path / "layouts.json")
    (problem,) = verify(path)
    assert f"layouts.json is {word}" in problem
    for use in (Zoo.open, start):
        with pytest.raises(ValueError, match=f"damaged: layouts.json is {word}.*resto"):
            use(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"5": net(5)[:1]}, r"run 5 is \[1, 6, 'F32'\] instead of \[2, 6, 'F32'\]"),
        ({"5": net(5)[:, :1]}, r"run 5 is \[2, 1, 'F32'\] instead of \[2, 6, 'F32'\]"),
        ({"5": net(4)}, r"run 5 is \[2, 24, 'F32'\] instead of"),
        ({"5": net(5).astype("f2")}, r"run 5 is \[2, 6, 'F16'\] instead of"),
        ({"8": net(5)}, "run 8 is not in both it and the header"),
    ],
)
def test_a_shard_that_does_not_fit_its_layouts(path: Path, change, message) -> None:
    """Checksums agree, as of a zoo that someone else's program wrote."""
    name = "weights/shard-00002.safetensors"
    header = storage.read_header(path)
    tensors = {"5": net(5)} | change
    header["files"][name] |= storage.write(path, name, safetensors.numpy.save(tensors))
    storage.write_header(path, header)
    (problem,) = verify(path)
    assert problem.startswith(f"{name} does not fit (")
    assert pd.Series([problem]).str.contains(message).all()
    if "5" in change and tensors["5"].shape != net(5).shape:
        with pytest.raises(ValueError, match=f"damaged: {name} does not fit run 5"):
            Zoo.open(path).weights([5])
