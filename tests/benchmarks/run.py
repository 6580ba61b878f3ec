"""How fast the library is, against what one would write without it.

``python tests/benchmarks/run.py`` measures every row, prints a table and writes
``_build/bench.json``. In every row lower is better. Only ratios within one run mean
something: ours and the peers take turns, each keeps its best time, and a machine
that does other work at the same time spoils them all.

A row is a function that returns a :class:`Row`, listed in ``ROWS``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from nwslib.clustering import single_linkage
from nwslib.data import ImageSet
from nwslib.nets import get_net
from nwslib.train import Recipe, Schedule, build_stack

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "_build" / "bench.json"

N_MODELS = 250  # the paper's number of seeds

#: Row -> (peer, how many times faster than it ours has to be).
TARGETS = {
    "train-A1": ("plain-loop", 60),
    "train-A2": ("plain-loop", 15),
    "import-nwslib": ("import-torch", 1 / 1.3),
}


@dataclass(frozen=True)
class Row:
    """One measured task.

    Attributes
    ----------
    name, unit : str
    ours : float
    peers : dict of str to float
        The same task done another way.
    limit : float
        What the machine's arithmetic, or the part that is not ours, takes.
    """

    name: str
    unit: str
    ours: float
    peers: dict[str, float]
    limit: float


def best(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Let each contender time itself in turn, ``rounds`` times; keep the least."""
    times = [{name: run() for name, run in contenders.items()} for _ in range(rounds)]
    return {name: min(round_[name] for round_ in times) for name in contenders}


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def train_a1(share: float) -> Row:
    """A1 through the general engine, compiled; 4 images a step as in Table 1."""
    fc1, others = 196 * 10, 2 * 10 * 10  # weights
    # forward and weight gradient for every weight, input gradient but for fc1
    flops = 4 * 2 * (2 * fc1 + 3 * others) + _SGD_FLOPS * (fc1 + others)
    recipe = Recipe(lr=0.03, weight_decay=3e-4)
    return _train_row("A1", recipe, 4, "compile", flops, round(1000 * share))


def train_a2(share: float) -> Row:
    """A2 through its kernel; 12 images a step as in Table 1."""
    # multiplications and additions that no implementation can leave out: conv1 at
    # the 36 positions that are pooled, conv2's 4 valid taps at 4 positions, fc ...
    forward = 2 * (36 * 16 * 9 + 4 * 8 * 4 * 16 + 80)
    # ... and the gradients where max-pooling lets them through
    backward = 2 * (9 * 16 * 9 + 2 * 8 * 4 * 16 + 2 * 80)
    flops = 12 * (forward + backward) + _SGD_FLOPS * 1376
    recipe = Recipe(lr=3e-4, weight_decay=1e-3)
    return _train_row("A2", recipe, 12, "kernel", flops, round(400 * share))


_SGD_FLOPS = 6  # a weight and step: decay, momentum, move


def _train_row(
    net: str, recipe: Recipe, batch: int, engine: str, flops: int, steps: int
) -> Row:
    """Time of a step of one model: stacked, plain, and plain on every core."""
    steps = max(steps, 2)
    images = _noise(4000)
    recipes = [recipe] * N_MODELS
    stack = build_stack(
        get_net(net), recipes, images, Schedule(1, batch), engine=engine
    )
    order = torch.randint(4000, (N_MODELS, steps * batch), dtype=torch.int32)

    def ours() -> float:
        data = images.train_images, images.train_labels
        return seconds(stack.train, *data, order, 0) / (N_MODELS * steps)

    cores = os.cpu_count()
    plain_steps = 2 * steps

    def plain() -> float:
        return _plain_loop(net, recipe, batch, plain_steps) / plain_steps

    def process_per_core() -> float:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(cores)
        with context.Pool(cores, _start_worker, (barrier,)) as pool:
            job = (net, recipe, batch, plain_steps)
            times = pool.starmap(_plain_loop_on_one_core, [job] * cores, chunksize=1)
        return max(times) / (cores * plain_steps)

    ours()  # compiles
    times = best(
        {"ours": ours, "plain-loop": plain, "process-per-core": process_per_core}, 3
    )
    micro = {name: 1e6 * t for name, t in times.items()}
    limit = 1e6 * flops / _peak_flops()
    return Row(f"train-{net}", "us/model-step", micro.pop("ours"), micro, limit)


def _noise(n: int) -> ImageSet:
    """Images of MNIST's kind; what they show does not matter here."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 1, 14, 14), generator=generator).to(torch.uint8)
    labels = torch.randint(10, (n,), generator=generator)
    return ImageSet("noise", images, labels, images[:10], labels[:10])


def _plain_loop(net: str, recipe: Recipe, batch: int, steps: int) -> float:
    """One module and torch.optim: seconds for ``steps`` steps after a warm-up."""
    module = get_net(net).build()
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
    )  # fmt: skip
    images = _noise(4000)
    inputs = images.train_images.float() / 255
    targets = F.one_hot(images.train_labels, 10).float()
    batches = torch.randint(len(inputs), (20 + steps, batch))

    def work(part: torch.Tensor) -> None:
        for index in part:
            optimizer.zero_grad()
            F.mse_loss(module(inputs[index]), targets[index]).backward()
            optimizer.step()

    work(batches[:20])
    return seconds(work, batches[20:])


def _start_worker(barrier) -> None:
    global _barrier
    _barrier = barrier
    torch.set_num_threads(1)


def _plain_loop_on_one_core(net: str, recipe: Recipe, batch: int, steps: int) -> float:
    _barrier.wait()  # all cores are busy at once
    return _plain_loop(net, recipe, batch, steps)


def _peak_flops() -> float:
    """What the machine reaches in a large float32 matrix product, per second."""
    n = 2048
    a, b = torch.rand(n, n), torch.rand(n, n)
    return 2 * n**3 / min(seconds(torch.matmul, a, b) for _ in range(6))


def import_nwslib(share: float) -> Row:
    """Import the nets and their training in a fresh interpreter.

    The bare package imports nothing, which would say nothing.
    """

    def fresh(module: str) -> Callable[[], float]:
        code = (
            "import time; start = time.perf_counter(); "
            f"import {module}; print(time.perf_counter() - start)"
        )
        command = [sys.executable, "-c", code]

        def run() -> float:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return float(done.stdout)

        return run

    times = best(
        {"ours": fresh("nwslib.train"), "import-torch": fresh("torch")},
        max(round(10 * share), 2),
    )
    milli = {name: 1e3 * t for name, t in times.items()}
    limit = milli["import-torch"]
    return Row("import-nwslib", "ms", milli.pop("ours"), milli, limit)


def linkage(share: float) -> Row:
    """Single linkage of 100 nets' trajectories, 50 snapshots of 2160 weights each."""
    n_nets = max(round(100 * share), 2)
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(n_nets, 50, 2160)) * np.linspace(1, 0.1, 50)[:, None]
    starts = rng.normal(scale=10, size=(n_nets, 1, 2160))
    points = (starts + steps.cumsum(axis=1)).reshape(-1, 2160).astype(np.float32)

    single_linkage(points[:100])  # compiles
    ours = best({"ours": lambda: seconds(single_linkage, points)}, 3)["ours"]
    # seconds each, so that one round is enough
    peers = {name: seconds(work, points) for name, work in _linkage_peers().items()}
    n = len(points)
    limit = n**2 * 2160 / _peak_flops()  # a multiply-add for half of the pairs
    return Row("linkage-5000x2160", "s", ours, peers, limit)


def _linkage_peers() -> dict[str, Callable[[np.ndarray], object]]:
    """What else computes single linkage; fastcluster where it is installed."""
    from scipy.cluster.hierarchy import linkage
    from sklearn.cluster import AgglomerativeClustering

    peers = {
        "scipy": lambda points: linkage(points, "single"),
        "scikit-learn": AgglomerativeClustering(
            linkage="single", compute_full_tree=True
        ).fit,
    }
    try:
        import fastcluster
    except ImportError:
        return peers
    return peers | {"fastcluster": fastcluster.linkage_vector}


#: Row by name: (share of the work to do) -> Row.
ROWS: dict[str, Callable[[float], Row]] = {
    "train-A1": train_a1,
    "train-A2": train_a2,
    "import-nwslib": import_nwslib,
    "linkage-5000x2160": linkage,
}


def machine() -> dict[str, object]:
    """Where and with what the numbers were measured."""
    info = Path("/proc/cpuinfo")
    models = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "commit": git.stdout.strip() or None,
    }


def table(rows: list[Row]) -> str:
    """Each row's times and ratios, one contender a line."""
    lines = [f"{'row':<20}{'contender':<20}{'time':>10} {'unit':<15}{'x ours':>8}"]
    for row in rows:
        times = {"ours": row.ours} | row.peers | {"limit": row.limit}
        for name, t in times.items():
            first = row.name if name == "ours" else ""
            lines.append(
                f"{first:<20}{name:<20}{t:>10.3g} {row.unit:<15}{t / row.ours:>8.3g}"
            )
    for row in rows:
        if row.name in TARGETS:
            peer, target = TARGETS[row.name]
            ratio = row.peers[peer] / row.ours
            verdict = "met" if ratio >= target else "MISSED"
            lines.append(
                f"{row.name}: {ratio:.3g} times as fast as {peer}, target "
                f"{target:.2g}: {verdict}"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write; a missed target is printed, not an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", action="append", choices=ROWS, metavar="ROW",
        help=f"measure and write only this row (repeatable): {', '.join(ROWS)}",
    )  # fmt: skip
    parser.add_argument(
        "--share", type=float, default=1.0,
        help="share of the work; below 1 the numbers mean nothing and are not written",
    )  # fmt: skip
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only or ROWS:
        print(f"measuring {name} ...", flush=True)
        rows.append(ROWS[name](arguments.share))
    print(table(rows))
    if arguments.share == 1.0:
        OUTPUT.parent.mkdir(exist_ok=True)
        report = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        OUTPUT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
