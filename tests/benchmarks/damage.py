"""What becomes of damaged files: bits turned, ends cut off, in all that is written.

``make damage`` runs this file. It writes every kind of file that the library
writes, damages one of them 500 times, and reads after each as the documentation says.
Then it runs the tests of other misfortunes (those marked ``hard``), and writes both to
``_build/hard-to-break.json``, which ``make record`` keeps. Takes some minutes; other
work on the machine does not matter.

A case is *detected* if what is said names the damaged file, in one line; *harmless* if
what is read is equal to what was written; and else *missed*. It is missed too if
anything but the damaged file is lost, or reading does not end.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

import pipeline
from measuring import ROOT, machine, say
from nwslib import _files, nws, report
from nwslib.flatten import Layout
from nwslib.foreign import open_nws, write_nws
from nwslib.lineage import recover, write_lineage
from nwslib.meta import guesser_file
from nwslib.meta.dmc_classifier import Recipe
from nwslib.meta.dmc_training import train
from nwslib.meta.protocol import labelled
from nwslib.meta.weight_store import WeightStore
from nwslib.monitor import TrajectoryMonitor, TransformersHooks, read_log
from nwslib.nws.executors import here
from nwslib.zoo import Zoo, ZooWriter, verify

#: Seconds after which reading counts as hung.
_PATIENCE = 60


@dataclass
class Reading:
    """What reading a folder gives.

    Attributes
    ----------
    parts : dict of str to object
        What was read, by name; things that compare by ``==``.
    said : list of str
        Complaints.
    """

    parts: dict[str, object] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def take(self, name: str, read: Callable[[], object]) -> object:
        """Add a part, or what its reader says instead."""
        try:
            self.parts[name] = read()
        except (ValueError, OSError) as error:
            self.said.append(str(error))
            return None
        return self.parts[name]


@dataclass(frozen=True)
class Kind:
    """Files that the library writes together.

    Attributes
    ----------
    name : str
    cases : int
        How often they are damaged, of 500 in all.
    write : callable
        Writes them into a new folder.
    read : callable
        Reads all that can be read of them.
    kept : callable
        Whether two readings, before and after a file was damaged, show that nothing
        else was lost; given its name too.
    parted : bool
        Whether a part that is read is right or not there; else ``kept`` tells.
    """

    name: str
    cases: int
    write: Callable[[Path], object]
    read: Callable[[Path], Reading]
    kept: Callable[[Reading, Reading, str], bool] = lambda before, after, name: True
    parted: bool = True


# --- zoos

_LAYOUTS = {
    "wide": Layout.of(torch.nn.Linear(30, 4)),
    "deep": Layout.of(torch.nn.Linear(9, 9)),
}


def _write_zoo(folder: Path, layouts: dict, *, complete: bool) -> None:
    """Six runs in three shards."""
    rng = np.random.default_rng(0)
    writer = ZooWriter.create(folder, layouts, spec={"lr": 0.1}, snapshots=[0, 1, 5])
    for first in (0, 2, 4):
        runs = [
            {"run": run, "seed": 7, "layout": list(layouts)[run % len(layouts)]}
            for run in (first, first + 1)
        ]
        history = [
            {
                "run": row["run"],
                "epoch": e,
                "split": "test",
                "accuracy": e / 9,
                "loss": 1,
            }
            for row in runs
            for e in range(6)
        ]
        sizes = [layouts[row["layout"]].size for row in runs]
        weights = [rng.normal(size=(3, size)).astype(np.float32) for size in sizes]
        writer.add(runs, weights, history, shard=first // 2)
    writer.close(complete=complete)


def _read_zoo(folder: Path) -> Reading:
    reading = Reading()
    reading.said += verify(folder) if (folder / "zoo.json").exists() else []
    zoo = reading.take("zoo", lambda: Zoo.open(folder, allow_partial=True))
    if zoo is None:
        return reading
    reading.parts["zoo"] = (
        zoo.runs.to_csv(), zoo.history.to_csv(), zoo.spec, zoo.snapshots, zoo.layouts
    )  # fmt: skip
    for run in range(6):
        reading.take(f"run {run}", lambda run=run: zoo.weights([run]).tobytes())
    return reading


def _other_runs(before: Reading, after: Reading, name: str) -> bool:
    """A shard takes its own two runs with it, another file none that can be opened."""
    lost = [run for run in before.parts if run not in after.parts]
    if "shard-" not in name:
        return lost in ([], list(before.parts))
    first = 2 * int(name[-len("00000.safetensors") :][:5])
    return set(lost) <= {f"run {first}", f"run {first + 1}"}


# --- numbers and tables


def _write_results(folder: Path) -> None:
    source = {"profile": {"name": "full"}, "seed": 0, "date": "2026-11-28"}
    report.write_results(
        folder, "chapter", {"purity": 0.9375, "runs": [1, 2, 3]}, source
    )


def _read_results(folder: Path) -> Reading:
    reading = Reading()
    reading.take("x", lambda: report.recorded("chapter", folder / "results", "full"))
    return reading


def _write_table(folder: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"run": range(50), "net": "A1", "x": rng.normal(size=50)})
    report.write_table(folder, "runs", table, "full")


def _read_table(folder: Path) -> Reading:
    reading = Reading()
    reading.take(
        "table",
        lambda: report.larger_table(
            "runs", pd.DataFrame(), "quick", folder / "results"
        ).to_csv(),
    )
    return reading


# --- what trainings leave


def _trained(log: Path | None) -> TrajectoryMonitor:
    """A monitor that has seen a small net move."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    monitor = TrajectoryMonitor(net, every=1, log=log)
    for _ in range(20):
        with torch.no_grad():
            for weight in net.parameters():
                weight.add_(0.01 * torch.randn_like(weight))
        monitor.step()
    return monitor


def _read_log(folder: Path) -> Reading:
    reading = Reading()
    with _warnings() as said:
        log = reading.take("rows", lambda: read_log(folder / "run.jsonl"))
    reading.said += said
    if log is not None:
        reading.parts["rows"] = log.drop(columns="run").to_csv(index=False).split("\n")
    return reading


def _some_lines(before: Reading, after: Reading, name: str) -> bool:
    """Rows that are left are as they were."""
    if "rows" not in after.parts:
        return True  # the first line, which names the columns
    return set(after.parts["rows"]) <= set(before.parts["rows"])


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the library's logger says."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("nwslib")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _hooks(folder: Path) -> tuple[TransformersHooks, dict]:
    """A Hugging Face callback, and what its trainer would give it."""
    return TransformersHooks(every=1), {
        "args": SimpleNamespace(output_dir=folder),
        "state": SimpleNamespace(is_world_process_zero=True, global_step=20),
        "control": None,
    }


def _write_state(folder: Path) -> None:
    (folder / "checkpoint-20").mkdir()
    hooks, given = _hooks(folder)
    hooks.monitor = _trained(None)
    hooks.on_save(**given)


def _read_state(folder: Path) -> Reading:
    reading = Reading()
    hooks, given = _hooks(folder)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    # Lightning keeps and gives back the same state.
    reading.take("state", lambda: hooks.on_train_begin(**given, model=net))
    if "state" in reading.parts:
        reading.parts["state"] = repr(hooks.monitor.state_dict())
    return reading


def _learned(folder: Path) -> object:
    """A deep meta-classifier that is trained, or read from its checkpoint."""
    rng = np.random.default_rng(0)
    flat = torch.from_numpy(rng.normal(size=8 * 40).astype(np.float32))
    rows = [(run, 0, 40 * run, 40 * run + 10, 40 * run + 40) for run in range(8)]
    index = pd.DataFrame(
        rows, columns=["run", "snapshot", "start", "conv_stop", "stop"]
    )
    runs = pd.DataFrame({"run": range(8), "init": ["normal", "constant"] * 4})
    store = WeightStore(flat, index)
    recipe = Recipe(size=16, width=1 / 64, epochs=1, batch=4)
    examples = labelled(np.arange(8), index, runs, "init")
    return train(store, examples, recipe, checkpoint=folder / "dmc.pt")


def _read_checkpoint(folder: Path) -> Reading:
    reading = Reading()
    found = reading.take("net", lambda: _learned(folder))
    if found is not None:
        weights = {k: v.tolist() for k, v in found.net.state_dict().items()}
        reading.parts["net"] = (weights, found.history.to_csv())
    return reading


# --- what is written for others


def _read_guesser(folder: Path) -> Reading:
    reading = Reading()
    found = reading.take("guesser", lambda: guesser_file.load(folder / "mine.skops"))
    if found is not None:
        answers = guesser_file._answers(found)
        judged = json.dumps(found.judged, sort_keys=True)
        reading.parts["guesser"] = (
            judged,
            {k: a.tobytes() for k, a in answers.items()},
        )
    return reading


def _write_lineage(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as nets:
        rng, point = np.random.default_rng(0), np.zeros(60)
        for k in range(4):
            point = point + rng.normal(size=60)
            state = {"w": torch.from_numpy(point.astype(np.float32))}
            torch.save(state, Path(nets) / f"{k}.pt")
        write_lineage(recover(nets), folder, {"lineage.svg": b"<svg/>"})


def _read_listed(folder: Path) -> Reading:
    """Files that people read; ``python -m nwslib verify`` compares them."""
    reading = Reading()
    try:
        reading.said += _files.differing(folder)
    except FileNotFoundError as error:
        reading.said.append(str(error))
    for file in sorted(folder.iterdir()):
        reading.parts[file.name] = file.read_bytes()
    return reading


def _other_files(before: Reading, after: Reading, name: str) -> bool:
    """What nobody reads back is not lost as long as it is there."""
    return {k for k in before.parts if after.parts[k] != before.parts[k]} <= {name}


def _write_export(folder: Path) -> None:
    plan = nws.Plan(
        (nws.Source("digits", train=60, test=20),),
        nws.Budget(max_epochs=2, snapshots=3),
        fixed_architecture=False,
        shard_size=2,
    )
    with tempfile.TemporaryDirectory() as zoo:
        write_nws(nws.sample(zoo, plan, 2, executor=here, progress=False), folder)


def _read_export(folder: Path) -> Reading:
    reading = Reading()
    found = reading.take("table", lambda: open_nws(folder, snapshots=3))
    if found is None:
        return reading
    reading.parts["table"] = ""
    reading.said += [f"{each.path}: {each.reason}" for each in found.rejected]
    for run, path in zip(found.runs["run"], found.runs["path"], strict=True):
        row = found.runs[found.runs["run"] == run].to_csv(index=False)
        reading.take(
            path,
            lambda run=run, row=row: (
                row, found.weights(run).tobytes(), found.history(run).to_csv()
            ),
        )  # fmt: skip
    return reading


def _other_folders(before: Reading, after: Reading, name: str) -> bool:
    """A file in a run's folder takes that run with it, a list or table everything."""
    lost = [path for path in before.parts if path not in after.parts]
    return not name.startswith("runs/") or all(name.startswith(path) for path in lost)


# --- executed chapters


def _write_notebook(folder: Path) -> None:
    cells = []
    for k in range(3):
        cell = nbformat.v4.new_code_cell(f"print({k})", id=f"cell-{k}")
        cell.outputs = [nbformat.v4.new_output("stream", text=f"{k} of 3\n")]
        cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=cells)
    pipeline._keep(notebook, folder / "chapter.ipynb")


def _read_notebook(folder: Path) -> Reading:
    reading, said = Reading(), io.StringIO()
    (file,) = folder.glob("*.ipynb")
    with contextlib.redirect_stdout(said):
        found = pipeline._kept(file)
    reading.said += said.getvalue().splitlines()
    if found is not None:
        reading.parts["notebook"] = nbformat.writes(found)
    return reading


KINDS = (
    Kind(
        "zoo of several architectures, unfinished", 100,
        lambda f: _write_zoo(f, _LAYOUTS, complete=False), _read_zoo, _other_runs,
    ),
    Kind(
        "zoo of one architecture, finished", 90,
        lambda f: _write_zoo(f, {"wide": _LAYOUTS["wide"]}, complete=True), _read_zoo,
        _other_runs,
    ),
    Kind("results of a chapter", 40, _write_results, _read_results),
    Kind("recorded table", 40, _write_table, _read_table),
    Kind(
        "log of a monitor", 50, lambda f: _trained(f / "run.jsonl"), _read_log,
        _some_lines, parted=False,
    ),
    Kind("saved state of a monitor", 25, _write_state, _read_state),
    Kind("checkpoint of a deep meta-classifier", 40, _learned, _read_checkpoint),
    Kind(
        "guesser", 15, lambda f: shutil.copy(guesser_file.DEFAULT, f / "mine.skops"),
        _read_guesser,
    ),
    Kind(
        "lineage of a folder", 30, _write_lineage, _read_listed, _other_files,
        parted=False,
    ),
    Kind(
        "zoo in the released layout", 40, _write_export, _read_export, _other_folders
    ),
    Kind("executed chapter in the cache", 30, _write_notebook, _read_notebook),
)  # fmt: skip


# --- damaging


class Hung(BaseException):
    """Reading did not end."""


def _stop(*_: object) -> None:
    raise Hung


def files(folder: Path) -> list[str]:
    """Names of all files; locks, which are empty, left out."""
    found = [file for file in folder.rglob("*") if file.is_file()]
    return sorted(f.relative_to(folder).as_posix() for f in found if f.stat().st_size)


def damaged(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """What is done to a file, and the file then: three in five times one bit."""
    chosen = rng.random()
    if chosen < 0.2:
        return "cut", data[: rng.integers(len(data))]
    places = rng.integers(
        8 * len(data), size=1 if chosen < 0.8 else rng.integers(2, 17)
    )
    content = bytearray(data)
    for place in places:
        content[place // 8] ^= 1 << place % 8
    return "bit" if len(places) == 1 else "bits", bytes(content)


def judged(
    kind: Kind, folder: Path, before: Reading, seed: tuple[int, ...]
) -> tuple[str, str, str]:
    """Damage a file, read, and put the file back.

    Returns
    -------
    outcome : {"detected", "harmless", "missed"}
    file : str
        Which was damaged.
    why : str
        What was done, and of what was missed, what happened.
    """
    rng = np.random.default_rng(seed)
    name = str(rng.choice(files(folder)))
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    whole = (folder / name).read_bytes()
    word, content = damaged(whole, rng)
    (folder / name).write_bytes(content)
    present = contents | {folder / name: content}
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    try:
        after = kind.read(folder)
        problem = _problem(kind, before, after, name)
    except Hung:
        after, problem = Reading(), f"no end within {_PATIENCE} seconds"
    except Exception as error:  # what a reader would see as a traceback
        after, problem = Reading(), f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    left = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in present.keys() | left.keys():
        if present.get(path) != left.get(path) and path.name != ".lock":
            problem = problem or f"{path.name} was changed by reading"
    (folder / name).write_bytes(whole)
    if problem:
        return "missed", name, f"{word}: {problem}"
    return ("detected" if after.said else "harmless"), name, word


def _problem(kind: Kind, before: Reading, after: Reading, name: str) -> str | None:
    """What is wrong with a reading of a damaged folder, or None."""
    wrong = [part for part, got in after.parts.items() if got != before.parts.get(part)]
    if not after.said:
        if wrong or after.parts.keys() != before.parts.keys():
            return f"read otherwise, without a word: {wrong}"
        return None
    if wrong and kind.parted:
        return f"read otherwise, though damage was told: {wrong}"
    if [text for text in after.said if len(text.splitlines()) != 1]:
        return f"more than a line: {after.said}"
    if not any(Path(name).name in text for text in after.said):
        return f"{name} is not named: {after.said}"
    if not kind.kept(before, after, name):
        return "more was lost than the file"
    return None


def cases(share: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Damage files of each kind, a row a case: kind, file, outcome, why."""
    rows = []
    for number, kind in enumerate(KINDS):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            kind.write(folder)
            before = kind.read(folder)
            if before.said:
                raise RuntimeError(
                    f"{kind.name} is damaged from the start: {before.said}"
                )
            for case in range(max(round(share * kind.cases), 2)):
                found = judged(kind, folder, before, (seed, number, case))
                rows.append((kind.name, *found))
    return pd.DataFrame(rows, columns=["kind", "outcome", "file", "why"])


def counted(found: pd.DataFrame) -> pd.DataFrame:
    """How often what happened, by kind of file."""
    number = re.compile(r"(?<![a-z\d])\d+")  # not that of sha256
    file = found["file"].map(lambda name: number.sub("N", Path(name).name))
    table = pd.crosstab([found["kind"], file], found["outcome"])
    table = table.reindex(columns=["detected", "harmless", "missed"], fill_value=0)
    return table.assign(cases=table.sum(axis=1)).reset_index()


# --- other misfortunes


class Hard:
    """Collects what the tests marked ``hard`` are about, and whether they passed."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, str, str]] = []
        self.failed: set[str] = set()
        self.passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note what each test is about."""
        for item in items:
            for mark in item.iter_markers("hard"):
                self.marks.append((item.nodeid, *mark.args))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how each test ended."""
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def rows(self) -> list[dict[str, object]]:
        """One a situation: what happens, what then, tests, whether they passed."""
        rows: dict[tuple[str, str], dict] = {}
        for test, what, then in self.marks:
            name = re.sub(r"\[.*", "", test)
            row = rows.setdefault(
                (what, then), {"what": what, "then": then, "tests": [], "ended": set()}
            )
            if name not in row["tests"]:
                row["tests"].append(name)
            row["ended"].add(
                "failed" if test in self.failed
                else "passed" if test in self.passed
                else "not run here"
            )  # fmt: skip
        for row in rows.values():
            ended = row.pop("ended")
            row["outcome"] = next(
                word for word in ("failed", "passed", "not run here") if word in ended
            )
        return list(rows.values())


def situations() -> list[dict[str, object]]:
    """Run the tests of other misfortunes."""
    marked = [
        str(file)
        for file in sorted((ROOT / "tests").glob("test_*.py"))
        if "mark.hard(" in file.read_text("utf-8")
    ]
    hard = Hard()
    pytest.main(["-m", "hard", "-q", "-p", "no:cacheprovider", *marked], plugins=[hard])
    return hard.rows()


def main() -> int:
    """Damage, test, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the cases")
    parser.add_argument("--folder", type=Path, default=ROOT / "_build")
    arguments = parser.parse_args()
    say("damaging ...")
    found = cases(arguments.share)
    table = counted(found)
    print(table.to_string(index=False))
    missed = found[found["outcome"] == "missed"]
    for row in missed.itertuples():
        print(f"missed: {row.kind}, {row.file}, {row.why}")
    say("other misfortunes ...")
    rows = situations()
    numbers = {"damage": table.to_dict("records"), "situations": rows}
    content = {"numbers": numbers, "provenance": machine()}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_files.sealed(content), indent=1) + "\n"
    _files.put(arguments.folder / "hard-to-break.json", text.encode())
    return int(len(missed) > 0 or any(row["outcome"] == "failed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
