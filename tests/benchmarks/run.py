"""How fast the library is, against what one would write without it.

``python tests/benchmarks/run.py`` measures every task, prints a table and writes
``_build/bench.json``, and on a machine with a GPU ``_build/bench-gpu.json``. Files
are written after each task, and tasks measured earlier stay in them if the hardware is
the same: a run that was stopped goes on with ``--only``. Every entry says at which
commit, when and with which versions it was measured.

Contenders take turns, and a number is the median of at least five rounds after a
warm-up. Only ratios within one task mean something, and a machine that does other
work at the same time spoils them all.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

import deep
import features
import gpu
import imports
import lineage
import linkage
import monitoring
import nws
import scaling
import slices
import training
from measuring import ROOT, Growth, Row, gpu_machine, machine, say

#: What is measured, by name: (share of the work to do) -> Row or Growth.
TASKS: dict[str, Callable[[float], Row | Growth]] = {
    "train-A1": partial(training.row, "A1"),
    "train-A2": partial(training.row, "A2"),
    "import-nwslib": imports.row,
    "linkage-12500x2160": linkage.row,
    "linkage-50000x1000": linkage.large_row,
    "lineage": lineage.row,
    "monitor-mlp": partial(monitoring.row, "mlp"),
    "monitor-resnet18": partial(monitoring.row, "resnet18"),
    "nws": partial(nws.row, False),
    "nws-augmented": partial(nws.row, True),
    "features": features.row,
    "dmc-step": partial(deep.step_row, 1.0),
    "dmc-step-narrow": partial(deep.step_row, 1 / 4),
    "dmc-many": deep.many_row,
    **{f"slices-{size}": partial(slices.row, size) for size in slices.SIZES},
    "growth-train-A1": partial(training.growth, "A1"),
    "growth-train-A2": partial(training.growth, "A2"),
    "growth-linkage": linkage.growth,
    "growth-sample": scaling.growth,
}
GPU_TASKS = {
    "train-A1-gpu": partial(gpu.epoch_row, "A1"),
    "train-A2-gpu": partial(gpu.epoch_row, "A2"),
    "nws-gpu": partial(nws.gpu_row, False),
    "nws-augmented-gpu": partial(nws.gpu_row, True),
    "dmc-step-gpu": deep.gpu_row,
}
ZOO_TASKS = {
    "zoo-A1-gpu": partial(gpu.zoo_row, "A1"),
    "zoo-A2-gpu": partial(gpu.zoo_row, "A2"),
}

#: Row -> peers, and how many times faster than each ours has to be; "best" is the
#: fastest of all peers.
RATIOS = {
    "train-A1": {"plain-loop": 150, "jax-vmap": 1},
    "train-A2": {"plain-loop": 100, "jax-vmap": 1},
    "import-nwslib": {"import-torch": 1 / 1.3},
    "linkage-12500x2160": {"best": 20},
    # an observation every 100 steps takes less than 5 % of the training
    "monitor-mlp": {"training-step": 1 / 5},
    "monitor-resnet18": {"training-step": 1 / 5},
    "nws": {"plain-loop": 2.5},
    "nws-augmented": {"plain-loop": 2.5},
    "features": {"plain-loop": 20},
    "dmc-step": {"eager-default": 1.3},
    "dmc-step-narrow": {"eager-default": 1.3},
    **{f"slices-{size}": {"data-set": 20} for size in slices.SIZES},
    "nws-gpu": {"plain-loop": 20},
    "nws-augmented-gpu": {"plain-loop": 20},
}
#: Row -> what ours may take at most: time in its unit, memory in MB.
MOST_TIME = {"zoo-A1-gpu": 60, "zoo-A2-gpu": 60, "lineage": 600}
MOST_MEMORY = {"linkage-12500x2160": 1000, "lineage": 8000}


def targets(row: Row) -> list[dict[str, object]]:
    """What is asked of a row and what it reached, in words and numbers."""
    found = []
    for peer, least in RATIOS.get(row.name, {}).items():
        if peer == "best" and row.peers:
            peer = min(row.peers, key=row.peers.get)
        if peer in row.peers:
            reached = row.peers[peer] / row.ours
            found.append((f"times as fast as {peer}", least, reached, reached >= least))
    for most, reached, what in (
        (MOST_TIME.get(row.name), row.ours, f"{row.unit} at most"),
        (MOST_MEMORY.get(row.name), row.memory_mb, "MB of memory at most"),
    ):
        if most is not None and reached is not None:
            found.append((what, most, reached, reached <= most))
    keys = ("what", "target", "reached", "met")
    return [dict(zip(keys, entry, strict=True)) for entry in found]


def row_table(rows: list[Row]) -> str:
    """Each row's times and ratios, one contender a line, then the targets."""
    lines = [
        f"{'row':<20}{'contender':<18}{'median':>9} {'unit':<14}{'spread':>7}"
        f"{'x ours':>8}{'compile':>9}"
    ]
    for row in rows:
        times = {"ours": row.ours} | row.peers
        if row.limit is not None:
            times["limit"] = row.limit
        for name, t in times.items():
            first = row.name if name == "ours" else ""
            spread = f"{row.spread(name):.0%}" if name in row.rounds else ""
            compiled = f"{row.compile[name]:.1f} s" if name in row.compile else ""
            lines.append(
                f"{first:<20}{name:<18}{t:>9.3g} {row.unit:<14}{spread:>7}"
                f"{t / row.ours:>8.3g}{compiled:>9}"
            )
        if row.memory_mb is not None:
            lines.append(f"{'':<20}{'memory of ours':<18}{row.memory_mb:>9.0f} MB")
    for row in rows:
        for target in targets(row):
            verdict = "met" if target["met"] else "MISSED"
            lines.append(
                f"{row.name}: {target['reached']:.4g} {target['what']}, target "
                f"{target['target']:.4g}: {verdict}"
            )
    return "\n".join(lines)


def growth_table(growths: list[Growth]) -> str:
    """How each contender's time grows, one a line, with the fitted exponent."""
    lines = []
    for growth in growths:
        for name, pairs in growth.times.items():
            times = ", ".join(f"{size:,}: {t:.3g}" for size, t in pairs)
            power = growth.exponents[name]
            fit = "" if power is None else f"; grows as {growth.variable}^{power:.2f}"
            lines.append(f"{growth.name}, {name} ({growth.unit}): {times}{fit}")
    return "\n".join(lines)


#: Of the description of a machine, what may differ from entry to entry.
_OF_AN_ENTRY = ("commit", "date", "system", "python", "versions")


def keep(path: Path, where: dict[str, object], share: float, result: Row | Growth):
    """Put a result into a file, beside those of the same hardware."""
    hardware = {key: where[key] for key in where if key not in _OF_AN_ENTRY}
    report = {"machine": hardware, "share": share, "rows": [], "growth": []}
    if path.is_file():
        before = json.loads(path.read_text("utf-8"))
        if all(before[key] == report[key] for key in ("machine", "share")):
            report = before
    part, entry = "growth", asdict(result)
    if isinstance(result, Row):
        part, entry = "rows", entry | {"targets": targets(result)}
    entry["measured"] = {key: where[key] for key in _OF_AN_ENTRY if key in where}
    names = [task.removeprefix("growth-") for task in TASKS | GPU_TASKS | ZOO_TASKS]
    others = [other for other in report[part] if other["name"] != result.name]
    report[part] = sorted([*others, entry], key=lambda e: names.index(e["name"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    unfinished.replace(path)


def measure(
    tasks: dict[str, Callable[[float], Row | Growth]],
    path: Path | None,
    where: dict[str, object],
    share: float,
) -> None:
    """Measure tasks, print their tables, keep each as soon as it is there."""
    print("\n".join(f"{key}: {value}" for key, value in where.items()), flush=True)
    results = []
    for name, task in tasks.items():
        say(f"{name} ...")
        results.append(task(share))
        if path:
            keep(path, where, share, results[-1])
    print(row_table([result for result in results if isinstance(result, Row)]))
    print(growth_table([result for result in results if isinstance(result, Growth)]))


def main() -> None:
    """Measure, print, write; a missed target is printed, not an error."""
    known = TASKS | GPU_TASKS | ZOO_TASKS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", action="append", choices=known, metavar="TASK", default=[],
        help=f"measure only this (repeatable): {', '.join(known)}",
    )  # fmt: skip
    parser.add_argument(
        "--zoo-gpu", action="store_true",
        help="measure only the paper's two zoos, whole, on the GPU",
    )  # fmt: skip
    parser.add_argument(
        "--share", type=float, default=1.0,
        help="share of the work; below 1 the numbers mean nothing",
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path,
        help="where the files go: _build, or nowhere for a share below 1",
    )  # fmt: skip
    arguments = parser.parse_args()
    wanted = [*arguments.only, *(ZOO_TASKS if arguments.zoo_gpu else ())]
    wanted = wanted or [*TASKS, *GPU_TASKS]
    folder, share = arguments.folder, arguments.share
    if folder is None and share == 1.0:
        folder = ROOT / "_build"

    def chosen(tasks: dict) -> dict:
        return {name: task for name, task in tasks.items() if name in wanted}

    with tempfile.TemporaryDirectory() as caches:
        # Nothing comes compiled from an earlier run.
        os.environ["NUMBA_CACHE_DIR"] = f"{caches}/numba"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{caches}/inductor"
        if tasks := chosen(TASKS):
            measure(tasks, folder and folder / "bench.json", machine(), share)
        if tasks := chosen(GPU_TASKS | ZOO_TASKS):
            if not torch.cuda.is_available():
                print("GPU: not measured, there is none here")
            else:
                path = folder and folder / "bench-gpu.json"
                measure(tasks, path, gpu_machine(), share)


if __name__ == "__main__":
    main()
