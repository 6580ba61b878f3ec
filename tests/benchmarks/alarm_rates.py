"""How often the monitor's alarms are false, and what they notice.

``python tests/benchmarks/alarm_rates.py`` trains small nets on the digits, prints
alarms per 100 observations of ordinary trainings and the share of changes that were
noticed, and writes both to ``_build/alarm-rates-digits.json``. Takes some minutes;
other work on the machine does not matter. The thresholds' defaults were chosen by it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from measuring import ROOT, machine, say, some
from nwslib import data
from nwslib.monitor import TrajectoryMonitor
from nwslib.nets import A1, A2

_EVERY = 5
_BATCH = 32
#: Observations of an ordinary training; before a change, and after it.
_ORDINARY, _BEFORE, _AFTER = 200, 100, 10

NAMES = ("jump", "turn", "balance", "frozen", "not-finite")


def mlp() -> nn.Module:
    """Fully connected, batch norm, dropout; 17,930 weights."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(196, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Dropout(0.2), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def convolutional() -> nn.Module:
    """Two convolutions with batch norm; 1946 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def deep() -> nn.Module:
    """Twelve layers and ten batch norms; 17,634 weights."""
    hidden = [(nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32)) for _ in range(10)]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(196, 32), *itertools.chain(*hidden), nn.Linear(32, 10)
    )


NETS = {"A1": A1, "A2": A2, "mlp": mlp, "convolutional": convolutional, "deep": deep}

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05),
    "momentum": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=3e-4),
    "Adam": lambda p: torch.optim.Adam(p, 1e-3),
    "AdamW": lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=0.05),
}

#: Learning rate, as a multiple of its highest, at a share t of the training.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "cosine": lambda t: (1 + math.cos(math.pi * t)) / 2,
    "steps": lambda t: 0.1 ** ((t >= 0.5) + (t >= 0.75)),
    "warm-up, cosine": lambda t: min(1, 10 * t) * (1 + math.cos(math.pi * t)) / 2,
    "cosine, 3 restarts": lambda t: (1 + math.cos(math.pi * (4 * t % 1))) / 2,
}

#: What changes: (pixels, labels) -> what the training goes on with.
CHANGES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "nothing": lambda x, y: (x, y),
    "labels shuffled": lambda x, y: (x, y[torch.randperm(len(y))]),
    "images negated": lambda x, y: (-x, y),
    "images rotated": lambda x, y: (x.rot90(1, (-2, -1)).contiguous(), y),
    "images noisy": lambda x, y: (x + torch.randn_like(x), y),
}
#: What else changes: factor of the learning rate.
FACTORS = {"learning rate x 2": 2.0, "learning rate x 10": 10.0}


def ordinary(share: float) -> pd.DataFrame:
    """False alarms: a row a training, with the number of each alarm."""
    cases = itertools.product(NETS, OPTIMIZERS, SCHEDULES)
    observations = max(round(_ORDINARY * share), 2)
    steps = observations * _EVERY
    rows = []
    for net, optimizer, schedule in _some(cases, share):
        training = Training(net, optimizer, seed=len(rows))
        factor = SCHEDULES[schedule]
        training.go(steps, lambda step, factor=factor: factor(step / steps))
        counts = {name: training.raised().count(name) for name in NAMES}
        rows.append((net, optimizer, schedule, observations, *counts.values()))
    return pd.DataFrame(
        rows, columns=["net", "optimizer", "schedule", "observations", *NAMES]
    )


def changed(share: float) -> pd.DataFrame:
    """What is noticed: a row a training, with whether each alarm was raised."""
    optimizers = ("momentum", "Adam")
    cases = itertools.product(NETS, optimizers, [*CHANGES, *FACTORS], range(2))
    rows = []
    for net, optimizer, change, seed in _some(cases, share):
        training = Training(net, optimizer, seed=seed)
        training.go(max(round(_BEFORE * share), 2) * _EVERY, lambda step: 1.0)
        before = training.monitor.steps
        if change in CHANGES:
            training.data = CHANGES[change](*training.data)
        factor = FACTORS.get(change, 1.0)
        training.go(_AFTER * _EVERY, lambda step, factor=factor: factor)
        raised = training.raised(before)
        rows.append((net, optimizer, change, *(name in raised for name in NAMES)))
    return pd.DataFrame(rows, columns=["net", "optimizer", "change", *NAMES])


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Standardised pixels [images, 1, 14, 14], and labels."""
    images = data.load("digits", size=14)
    pixels = images.train_images.float()
    return (pixels - pixels.mean()) / pixels.std(), images.train_labels.long()


class Training:
    """An ordinary training of a small net on the digits, monitored."""

    def __init__(self, net: str, optimizer: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.data = digits()
        self.net = NETS[net]()
        self.optimizer = OPTIMIZERS[optimizer](self.net.parameters())
        self.monitor = TrajectoryMonitor(self.net, every=_EVERY)
        self._batches = self._shuffled()

    def go(self, steps: int, schedule: Callable[[int], float]) -> None:
        """Train on; the schedule gives the learning rate's factor of each step."""
        (group,) = self.optimizer.param_groups
        highest = group["lr"]
        for step in range(steps):
            group["lr"] = highest * schedule(step)
            batch = next(self._batches)
            pixels, labels = (part[batch] for part in self.data)
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(pixels), labels).backward()
            self.optimizer.step()
            self.monitor.step()
        group["lr"] = highest

    def raised(self, after: int = -1) -> list[str]:
        """Names of the alarms raised after a step."""
        return [alarm.name for alarm in self.monitor.alarms if alarm.step > after]

    def _shuffled(self) -> Iterator[Tensor]:
        while True:
            order = torch.randperm(len(self.data[1]))
            yield from order[: len(order) // _BATCH * _BATCH].split(_BATCH)


def rates(trainings: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Alarms per 100 observations, of each name and together."""
    groups = trainings.groupby(by) if by else trainings.groupby(lambda _: "all")
    sums = groups[["observations", *NAMES]].sum()
    table = 100 * sums[list(NAMES)].div(sums["observations"], axis=0)
    return table.assign(any=table.sum(axis=1))


def noticed(trainings: pd.DataFrame) -> pd.DataFrame:
    """Share of the trainings in which each alarm followed a change, or any did."""
    with_any = trainings.assign(any=trainings[list(NAMES)].any(axis=1))
    means = with_any.groupby("change")[[*NAMES, "any"]].mean()
    return means.assign(trainings=trainings.groupby("change").size())


def _some(cases: Iterator[tuple], share: float) -> list[tuple]:
    """A share of the cases, drawn at random, in order."""
    cases = list(cases)
    if share == 1:
        return cases
    drawn = random.Random(0).sample(range(len(cases)), some(len(cases), share))
    return [cases[i] for i in sorted(drawn)]


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the work")
    parser.add_argument("--folder", type=Path, default=ROOT / "_build")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the nets are small
    say("ordinary trainings ...")
    usual = ordinary(arguments.share)
    tables = {"all": rates(usual)}
    tables |= {by: rates(usual, by) for by in ("net", "optimizer", "schedule")}
    say("trainings with a change ...")
    seen = noticed(changed(arguments.share))
    print("alarms per 100 observations of ordinary trainings")
    print(pd.concat(tables).round(2).to_string())
    print(f"share noticed within {_AFTER} observations")
    print(seen.round(2).to_string())
    numbers = {
        "trainings": len(usual),
        "false alarms per 100 observations": {
            name: json.loads(table.to_json(orient="index"))
            for name, table in tables.items()
        },
        "share of changes noticed": json.loads(seen.to_json(orient="index")),
    }
    report = {"numbers": numbers, "provenance": machine()}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / "alarm-rates-digits.json"
    path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
