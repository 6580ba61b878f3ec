"""Rows ``train-A1`` and ``train-A2``: the time of one training step of one model.

All contenders take the same steps: the same net, images, batch size, momentum and
weight decay. ``plain-loop`` is one module and ``torch.optim``, ``process-per-core``
as many of them as there are cores, ``general-engine`` our path for any module,
compiled, and ``jax-vmap`` is :mod:`jax_training`.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch.nn import functional as F

from measuring import Contender, Growth, Row, peak_flops, say, seconds, some, take_turns
from nwslib.data import ImageSet, pixel_statistics
from nwslib.nets import get_net
from nwslib.train import Recipe, Schedule, build_stack

N_MODELS = 250  # the paper's number of seeds
_ROUNDS = 9
_GENERAL = "compile"  # engine of the contender general-engine
_SGD_FLOPS = 6  # a weight and step: decay, momentum, move


@dataclass(frozen=True)
class Setup:
    """One of the paper's nets in training, after Table 1.

    Attributes
    ----------
    net : str
    recipe : Recipe
    batch : int
        Images a step.
    flops : int
        Arithmetic of one step that no implementation can leave out.
    steps : int
        Steps of every model in one call.
    """

    net: str
    recipe: Recipe
    batch: int
    flops: int
    steps: int


def _a1() -> Setup:
    fc1, others = 196 * 10, 2 * 10 * 10  # weights
    # forward and weight gradient for every weight, input gradient but for fc1
    flops = 4 * 2 * (2 * fc1 + 3 * others) + _SGD_FLOPS * (fc1 + others)
    return Setup("A1", Recipe(lr=0.03, weight_decay=3e-4), 4, flops, 1000)


def _a2() -> Setup:
    # multiplications and additions that no implementation can leave out: conv1 at
    # the 36 positions that are pooled, conv2's 4 valid taps at 4 positions, fc ...
    forward = 2 * (36 * 16 * 9 + 4 * 8 * 4 * 16 + 80)
    # ... and the gradients where max-pooling lets them through
    backward = 2 * (9 * 16 * 9 + 2 * 8 * 4 * 16 + 2 * 80)
    flops = 12 * (forward + backward) + _SGD_FLOPS * 1376
    return Setup("A2", Recipe(lr=3e-4, weight_decay=1e-3), 12, flops, 400)


SETUPS = {"A1": _a1(), "A2": _a2()}


def row(net: str, share: float) -> Row:
    """All contenders on a stack of 250 models, a microsecond figure each."""
    setup = SETUPS[net]
    steps = some(setup.steps, share)
    models = some(N_MODELS, share, least=4)
    compiling = {
        "ours": stacked(setup, models, steps, "auto"),
        "general-engine": stacked(setup, models, steps, _GENERAL),
    }
    if jax := jax_vmap(setup, models, steps):
        compiling["jax-vmap"] = jax
    others = {
        "plain-loop": lambda: 1e6 * plain_loop(setup, 2 * steps) / (2 * steps),
        "process-per-core": lambda: 1e6 * process_per_core(setup, 2 * steps),
    }
    first = {name: run() for name, run in compiling.items()}
    rounds = take_turns(compiling | others, some(_ROUNDS, share, least=1))
    calls = 1e-6 * models * steps  # from a model and step to seconds a call
    compile_seconds = {
        name: max(calls * (time - statistics.median(rounds[name])), 0.0)
        for name, time in first.items()
    }
    peak = peak_flops()
    return Row.of(
        f"train-{net}",
        "us/model-step",
        rounds,
        limit=1e6 * setup.flops / peak,
        compile=compile_seconds,
        peak_gflops=peak / 1e9,
        facts={"models": models, "batch": setup.batch, "steps": steps},
    )


def growth(net: str, share: float) -> Growth:
    """Time of a step of the whole stack, from 25 models to 2,500."""
    setup = SETUPS[net]
    by_size = {}
    for models in (25, 250, 2500):
        models = some(models, share, least=4)
        # as many steps of a model in each call, whatever the number of models
        steps = some(25_000 * setup.steps // 100 // models, share, least=10)
        say(f"  {models} models, {steps} steps a call")
        contenders = {"ours": stacked(setup, models, steps, "auto")}
        if jax := jax_vmap(setup, models, steps):
            contenders["jax-vmap"] = jax
        for run in contenders.values():
            run()  # compiles
        rounds = take_turns(contenders, some(5, share, least=1))
        by_size[models] = {
            name: [models * time for time in times] for name, times in rounds.items()
        }
    return Growth.of(f"train-{net}", "us/step", "models", by_size)


def stacked(setup: Setup, models: int, steps: int, engine: str) -> Contender:
    """Our stack with one of its engines."""
    images = noise(4000)
    stack = build_stack(
        get_net(setup.net),
        [setup.recipe] * models,
        images,
        Schedule(1, setup.batch),
        engine=engine,
    )
    data = images.train_images, images.train_labels, _order(setup, models, steps)
    return lambda: 1e6 * seconds(stack.train, *data, 0) / (models * steps)


def jax_vmap(setup: Setup, models: int, steps: int) -> Contender | None:
    """The peer of :mod:`jax_training`; None where jax is not installed."""
    if find_spec("jax") is None:
        return None
    from jax_training import JaxStack

    images = noise(4000)
    schedule = Schedule(1, setup.batch)
    initial = build_stack(
        get_net(setup.net), [setup.recipe] * models, images, schedule, engine="eager"
    ).weights.numpy()
    stack = JaxStack(
        setup.net, initial, setup.recipe, *input_scale(images), setup.batch
    )
    data = stack.place(
        images.train_images.flatten(1).numpy(),
        images.train_labels.numpy(),
        _order(setup, models, steps).numpy(),
    )
    return lambda: 1e6 * seconds(stack.train, *data) / (models * steps)


def input_scale(images: ImageSet) -> tuple[float, float]:
    """Gain and shift that take pixels to mean 0 and deviation 1."""
    mean, std = (float(statistic) for statistic in pixel_statistics(images))
    return 1 / (255 * std), -mean / std


def noise(train: int, test: int = 10) -> ImageSet:
    """Images of MNIST's kind; what they show does not matter here."""
    generator = torch.Generator().manual_seed(0)
    shape = (train + test, 1, 14, 14)
    images = torch.randint(256, shape, generator=generator).to(torch.uint8)
    labels = torch.randint(10, shape[:1], generator=generator)
    return ImageSet(
        "noise", images[:train], labels[:train], images[train:], labels[train:]
    )


def _order(setup: Setup, models: int, steps: int) -> torch.Tensor:
    """Images of every model's batches, [models, steps * batch]."""
    generator = torch.Generator().manual_seed(1)
    shape = (models, steps * setup.batch)
    return torch.randint(4000, shape, generator=generator, dtype=torch.int32)


def plain_loop(setup: Setup, steps: int) -> float:
    """One module and torch.optim: seconds for ``steps`` steps after a warm-up."""
    module = get_net(setup.net).build()
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=setup.recipe.lr,
        momentum=setup.recipe.momentum,
        weight_decay=setup.recipe.weight_decay,
    )
    images = noise(4000)
    inputs = images.train_images.float() / 255
    targets = F.one_hot(images.train_labels, 10).float()
    batches = torch.randint(len(inputs), (20 + steps, setup.batch))

    def work(part: torch.Tensor) -> None:
        for index in part:
            optimizer.zero_grad()
            F.mse_loss(module(inputs[index]), targets[index]).backward()
            optimizer.step()

    work(batches[:20])
    return seconds(work, batches[20:])


def process_per_core(setup: Setup, steps: int) -> float:
    """A plain loop on every core at once: seconds for a step of one model."""
    cores = os.cpu_count()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores)
    with context.Pool(cores, _start_worker, (barrier,)) as pool:
        times = pool.starmap(_on_one_core, [(setup, steps)] * cores, chunksize=1)
    return max(times) / (cores * steps)


def _start_worker(barrier) -> None:
    global _barrier
    _barrier = barrier
    torch.set_num_threads(1)


def _on_one_core(setup: Setup, steps: int) -> float:
    _barrier.wait()  # all cores are busy at once
    return plain_loop(setup, steps)
