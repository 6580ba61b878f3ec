"""Rows of the live monitor: an observation beside a step of the training it watches."""

from __future__ import annotations

import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from measuring import Contender, Row, copy_seconds, seconds, some, take_turns
from nwslib._image_files import _torchvision_datasets
from nwslib.monitor import TrajectoryMonitor

_ROUNDS = 15
_PROJECT = 256
_EVERY = 100
_BATCHES = 8


def row(name: str, share: float) -> Row:
    """Observe a net of some 10 million weights while it trains.

    ``ours`` is one observation with its line in the log, ``project-256`` the same
    through random combinations, ``training-step`` one step of the training. The limit
    is what has to go through memory: four vectors read, two written.
    """
    torch.manual_seed(0)
    net, step = NETS[name](share)
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        exact = TrajectoryMonitor(net, 1, logs / "exact.jsonl")
        start = time.perf_counter()
        projected = TrajectoryMonitor(
            net, 1, logs / "projected.jsonl", project=_PROJECT
        )
        built = time.perf_counter() - start
        works = {
            "training-step": step, "ours": exact.step, "project-256": projected.step
        }  # fmt: skip
        lengths, angles, turns = [], [], []

        def timed(work: Callable[[], object]) -> Contender:
            return lambda: 1e3 * seconds(work)

        def last() -> float:  # of a round: both have seen the same step
            took = timed(projected.step)()
            true, seen = exact.positions["whole"], projected.positions["whole"]
            lengths.append(abs(seen.step / true.step - 1))
            angles.append(abs(seen.turning - true.turning))
            turns.append(true.turning)
            return took

        for _ in range(some(3, share, least=1)):  # no turn at the first
            for work in works.values():
                work()
        contenders = {key: timed(work) for key, work in works.items()}
        rounds = take_turns(contenders | {"project-256": last}, some(_ROUNDS, share))
    medians = {key: statistics.median(times) for key, times in rounds.items()}
    training = medians["training-step"]
    weights = sum(parameter.numel() for parameter in net.parameters())
    facts = {
        "weights": weights,
        "share of the training, every 100 steps": {
            key: medians[key] / (_EVERY * training) for key in ("ours", "project-256")
        },
        "project-256, seconds to construct": built,
        "project-256, error of lengths": statistics.median(lengths),
        "turning angle in degrees": math.degrees(statistics.median(turns)),
        "project-256, its error": math.degrees(statistics.median(angles)),
    }
    limit = 3e3 * copy_seconds(weights)
    return Row.of(f"monitor-{name}", "ms", rounds, limit=limit, facts=facts)


def mlp(share: float) -> tuple[nn.Module, Callable[[], None]]:
    """Three layers of 1825 units, 10 million weights; Adam, batches of 64."""
    width = some(1825, math.sqrt(share))
    layers = [nn.Linear(width, width) for _ in range(3)]
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    inputs = torch.randn(_BATCHES, 64, width)
    targets = torch.randint(width, (_BATCHES, 64))
    return net, _training(net, torch.optim.Adam(net.parameters()), inputs, targets)


def resnet18(share: float) -> tuple[nn.Module, Callable[[], None]]:
    """torchvision's, 11.7 million weights; SGD with momentum, 32 images of 64x64."""
    _torchvision_datasets()  # torchvision, whatever PyTorch it was built for
    from torchvision.models import resnet18

    net, batch = resnet18(), some(32, share)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(_BATCHES, batch, 3, 64, 64)
    labels = torch.randint(1000, (_BATCHES, batch))
    return net, _training(net, optimizer, images, labels)


#: Net -> (share of the work) -> the net and a step of its training.
NETS = {"mlp": mlp, "resnet18": resnet18}


def _training(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    targets: torch.Tensor,
) -> Callable[[], None]:
    batches = itertools.cycle(zip(inputs, targets, strict=True))

    def step() -> None:
        batch, wanted = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(net(batch), wanted).backward()
        optimizer.step()

    return step
