"""Rows ``dmc-*``: the time of a training step of a deep meta-classifier.

A local one for slices of 5,000 weights, batches of 64. ``eager-default`` is what one
would write: torch's layers in a ``Sequential``, ``torch.optim.Adam``, torch's default
threads. Ours is the library's net and optimiser in a process of one thread on every
core, as :func:`nwslib.meta.dmc_many.train_many` trains, in bfloat16 where the
processor computes in it, beside the same in float32; a time is the machine's, for a
step of one net.

``dmc-many`` trains several narrow nets. There ``grouped`` is one stack of them, a
convolution with a group for each net, and ``one-by-one`` is ours with all threads.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

import training
from measuring import Row, peak_flops, seconds, some, take_turns, wait
from nwslib._device import has_bfloat16
from nwslib.meta import dmc, dmc_training
from nwslib.meta.dmc_classifier import Recipe
from nwslib.nws.executors import keep_memory

N_CLASSES, BATCH, N_NETS = 5, 64, 8
_ROUNDS = 5


@dataclass(frozen=True)
class Work:
    """So many steps of one net.

    Attributes
    ----------
    width : float
    batch, steps : int
    """

    width: float
    batch: int
    steps: int

    @classmethod
    def of(cls, width: float, share: float) -> Work:
        """A share of the work: smaller batches, fewer steps, one at least."""
        steps = some(5 if width == 1 else 20, share, least=1)
        return cls(width, some(BATCH, share), steps)

    @property
    def spec(self) -> dmc.Spec:
        """The net."""
        return dmc.local_spec(N_CLASSES, width=self.width)

    @property
    def flops(self) -> int:
        """Multiplications and additions of one step in all layers' weights."""
        count = 0
        for k, layer in enumerate(self.spec.layers):
            taps = 5 if layer.is_conv else 1
            products = layer.inputs * layer.outputs * taps * layer.length
            count += 2 * products * (3 if k else 2)  # no gradient of the input
        return self.batch * count


def step_row(width: float, share: float) -> Row:
    """On the CPU, milliseconds of the whole machine for a step."""
    work = Work.of(width, share)
    contenders = {
        "ours": lambda: 1e3 * process_per_core(work, has_bfloat16("cpu")),
        "float32": lambda: 1e3 * process_per_core(work),
        "eager-default": lambda: 1e3 * eager(work),
    }
    rounds = take_turns(contenders, some(_ROUNDS, share, least=1))
    return _row("dmc-step" if width == 1 else "dmc-step-narrow", rounds, work, "cpu")


def many_row(share: float) -> Row:
    """On the CPU, milliseconds for a step of one of several narrow nets."""
    work, nets = Work.of(1 / 8, share), some(N_NETS, share)
    contenders = {
        "ours": lambda: 1e3 * process_per_core(work),
        "grouped": lambda: 1e3 * grouped(work, nets) / nets,
        "one-by-one": lambda: 1e3 * one_process(work),
    }
    rounds = take_turns(contenders, some(_ROUNDS, share, least=1))
    return _row("dmc-many", rounds, work, "cpu", nets=nets)


def gpu_row(share: float, device: str = "cuda") -> Row:
    """On a GPU, milliseconds for a step; ours computes in bfloat16 where it can."""
    work = Work.of(1.0, share)
    contenders = {
        "ours": lambda: 1e3 * one_process(work, device, autocast=True),
        "eager-default": lambda: 1e3 * eager(work, device),
    }
    rounds = take_turns(contenders, some(_ROUNDS, share, least=1))
    return _row("dmc-step-gpu", rounds, work, device)


def _row(name: str, rounds: dict, work: Work, device: str, **facts: object) -> Row:
    peak = peak_flops(device)
    facts |= {"batch": work.batch, "width": work.width}
    return Row.of(
        name,
        "ms/step",
        rounds,
        limit=1e3 * work.flops / peak,
        peak_gflops=peak / 1e9,
        facts=facts,
    )


def process_per_core(work: Work, autocast: bool = False) -> float:
    """Ours on every core at once: seconds of the machine for a step."""
    cores = os.cpu_count()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores)
    with context.Pool(cores, training._start_worker, (barrier,)) as pool:
        return max(pool.map(_on_one_core, [(work, autocast)] * cores, 1)) / cores


def _on_one_core(given: tuple[Work, bool]) -> float:
    work, autocast = given
    keep_memory()
    ready = training._barrier.wait  # all are busy at once
    return one_process(work, autocast=autocast, ready=ready)


def one_process(
    work: Work,
    device: str = "cpu",
    autocast: bool = False,
    ready: Callable[[], object] = lambda: None,
) -> float:
    """Ours: seconds for a step."""
    net = dmc.build(work.spec).to(device)
    recipe = Recipe(autocast=autocast)
    return _steps(net, dmc_training.adam(net), work, device, recipe, ready)


def eager(work: Work, device: str = "cpu") -> float:
    """Torch's layers and optimiser as they come: seconds for a step."""
    net = sequential(work.spec).to(device)
    return _steps(net, torch.optim.Adam(net.parameters()), work, device)


def grouped(work: Work, nets: int) -> float:
    """A stack of nets: seconds for a step of all."""
    net = sequential(work.spec, nets)
    return _steps(net, torch.optim.Adam(net.parameters(), fused=True), work, nets=nets)


def sequential(spec: dmc.Spec, nets: int = 1) -> nn.Sequential:
    """A DMC in torch's layers, or several side by side in groups of channels.

    It takes [batch, nets, length] and gives [batch, nets * classes].
    """
    modules: list[nn.Module] = []
    for layer in spec.layers:
        if layer.name == "fc1":
            modules.append(nn.Flatten())
        if layer.is_conv:
            modules.append(
                nn.Conv1d(
                    nets * layer.inputs,
                    nets * layer.outputs,
                    5,
                    padding=2,
                    groups=nets,
                )  # fmt: skip
            )
        elif nets == 1:
            modules.append(nn.Linear(layer.inputs, layer.outputs))
        else:
            modules.append(_Linears(nets, layer.inputs, layer.outputs))
        if layer.hidden:
            modules += [nn.ReLU(), nn.BatchNorm1d(nets * layer.outputs)]
            modules += [nn.MaxPool1d(2)] * layer.pool
            modules += [] if layer.is_conv else [nn.Dropout(spec.dropout)]
    return nn.Sequential(*modules)


class _Linears(nn.Module):
    """A linear layer of each net, [batch, nets * inputs] to [batch, nets * outputs]."""

    def __init__(self, nets: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(
            torch.empty(nets, inputs, outputs).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.zeros(nets, 1, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nets, inputs, _ = self.weight.shape
        x = x.view(-1, nets, inputs).transpose(0, 1)  # [nets, batch, inputs]
        x = torch.baddbmm(self.bias, x, self.weight)
        return x.transpose(0, 1).flatten(1)


def _steps(
    net: nn.Module,
    adam: torch.optim.Adam,
    work: Work,
    device: str = "cpu",
    recipe: Recipe = Recipe(),  # noqa: B008
    ready: Callable[[], object] = lambda: None,
    nets: int = 1,
) -> float:
    """Seconds for a step, after a warm-up; ``ready`` is called between them."""
    shape = (work.batch, nets, work.spec.length)
    if isinstance(net[0], nn.Unflatten):  # ours takes slices as they are
        shape = shape[::2]
    x = 0.1 * torch.randn(shape, device=device)
    y = torch.randint(N_CLASSES, (work.batch * nets,), device=device)
    net.train()

    def train(steps: int) -> None:
        for _ in range(steps):
            with recipe.precision(x.device):
                loss = F.cross_entropy(net(x).view(-1, N_CLASSES), y)
            adam.zero_grad()
            loss.backward()
            adam.step()
        wait(device)

    train(1)
    ready()
    return seconds(train, work.steps) / work.steps
