"""Train many nets at once.

A net is a row of a [models, weights] matrix, and everything about its training may
differ from the other rows': seed, initialisation, order of batches, optimizer,
learning rate, momentum, weight decay. :func:`train_stack` picks the engine, the
general one of :mod:`nwslib.stacked` or a compiled kernel of :mod:`nwslib.kernels`,
and keeps the record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nwslib._device import check_device
from nwslib.data import ImageSet, pixel_statistics
from nwslib.flatten import Layout
from nwslib.nets import NETS, NetSpec, initialise
from nwslib.recipe import LOSSES, Recipe, Schedule, squared_error
from nwslib.stacked import StackedNets, hyper_parameters

if TYPE_CHECKING:
    from nwslib.kernels import KernelNets

__all__ = [
    "Recipe", "Schedule", "Trained", "build_stack", "check_request", "train_stack",
]  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A stack after training.

    Attributes
    ----------
    layout : Layout
    snapshots : tuple of int
        Epochs of the kept weights.
    weights : Tensor of float32, shape [models, snapshots, weights]
    accuracy, loss : dict of str to ndarray, shapes [models, epochs + 1]
        Keys ``train`` and ``test``. Column e of ``test`` is measured after epoch
        e on all test images. Column e of ``train`` is the mean over epoch e's
        batches as they came, each before its own step; column 0 is NaN.
        Accuracy is a share in [0, 1]; loss is :class:`.Loss`'s per-sample value.
    diverged : ndarray of bool, shape [models]
        Whether any kept or final weight is not finite.
    """

    layout: Layout
    snapshots: tuple[int, ...]
    weights: Tensor
    accuracy: dict[str, np.ndarray]
    loss: dict[str, np.ndarray]
    diverged: np.ndarray


def train_stack(
    net: NetSpec,
    recipes: Sequence[Recipe],
    images: ImageSet,
    schedule: Schedule,
    *,
    device: str = "cpu",
    engine: str = "auto",
    progress: bool = True,
) -> Trained:
    """Train one net per recipe, all at once.

    Each model's result depends on its own recipe only, not on its neighbours: to
    rounding (the tests allow 1e-5 after an epoch) with the general engines, to the
    bit with the kernel. Same seeds on the same machine give the same bits.

    Parameters
    ----------
    net : NetSpec
        The architecture, one of :data:`nwslib.nets.NETS` or your own.
    recipes : sequence of Recipe
        One a model.
    images : ImageSet
        Of the net's input size.
    schedule : Schedule
    device : str
        ``"cpu"``, ``"cuda"``, ...
    engine : {"auto", "kernel", "compile", "eager"}
        ``kernel`` is A1's or A2's compiled loop on the CPU; ``compile`` and
        ``eager`` run any module through ``torch.func``. ``auto`` takes the kernel
        where it applies and compiles where that repays its own time.
    progress : bool
        Show a bar with models, epochs and time left.

    Returns
    -------
    Trained

    Raises
    ------
    ValueError
        For no recipes, images that do not fit the net or the batch size, more
        classes than outputs, running statistics in the net, or an engine that
        cannot train this net.
    """
    from nwslib import _bars  # here, for no weight depends on it

    check_request(net, recipes, images, schedule, device, engine)
    stack = build_stack(net, recipes, images, schedule, device=device, engine=engine)
    layout = Layout.of(net.build())
    steps = len(images.train_labels) // schedule.batch_size
    train = images.train_images.to(device), images.train_labels.to(device)
    test = images.test_images.to(device), images.test_labels.to(device)
    generators = [
        _generator(r.seed if r.batch_seed is None else r.batch_seed, "batches")
        for r in recipes
    ]
    kept = torch.empty(len(recipes), len(schedule.snapshots), layout.size)
    history = torch.full((4, len(recipes), schedule.epochs + 1), math.nan)
    bar = _bars.bar(
        schedule.epochs,
        "epoch",
        progress,
        title=f"{net.name}, {len(recipes)} models",
    )
    for epoch in range(schedule.epochs + 1):
        if epoch:
            order = torch.stack(
                [_batches(g, len(train[1]), steps * schedule.batch_size)
                 for g in generators]
            )  # [models, steps * batch]  # fmt: skip
            sums = stack.train(*train, order, (epoch - 1) * steps)
            history[:2, :, epoch] = (sums / order.shape[1]).T
            bar.update()
        sums = stack.evaluate(*test)
        history[2:, :, epoch] = (sums / len(test[1])).T
        if epoch in schedule.snapshots:
            kept[:, schedule.snapshots.index(epoch)] = stack.weights.cpu()
    bar.close()
    finite = kept.isfinite().all(-1).all(-1) & stack.weights.cpu().isfinite().all(-1)
    train_loss, train_accuracy, test_loss, test_accuracy = history.numpy()
    return Trained(
        layout=layout,
        snapshots=schedule.snapshots,
        weights=kept,
        accuracy={"train": train_accuracy, "test": test_accuracy},
        loss={"train": train_loss, "test": test_loss},
        diverged=~finite.numpy(),
    )


def build_stack(
    net: NetSpec,
    recipes: Sequence[Recipe],
    images: ImageSet,
    schedule: Schedule,
    *,
    device: str = "cpu",
    engine: str = "auto",
) -> StackedNets | KernelNets:
    """Initialise one net per recipe; what :func:`train_stack` trains.

    Parameters are those of ``train_stack``; both engines have ``train``, ``evaluate``
    and ``weights``.
    """
    module = net.build().to(device)
    layout = Layout.of(module)
    weights = torch.stack(
        [
            layout.flatten(
                initialise(net.build(), r.init, _generator(r.seed, "weights"))
            )
            for r in recipes
        ]
    )
    if schedule.standardise:
        mean, std = (statistic.float() for statistic in pixel_statistics(images))
    else:
        mean, std = torch.zeros(images.channels), torch.ones(images.channels)
    gain, shift = (1 / (255 * std))[:, None, None], (-mean / std)[:, None, None]
    hyper, adam = hyper_parameters(recipes)
    loss, batch_size = LOSSES[schedule.loss], schedule.batch_size

    if engine in ("auto", "kernel") and _kernel_applies(net, schedule, device):
        # numba: only where it is used
        from nwslib.kernels import KERNELS, N_CLASSES, KernelNets

        return KernelNets(
            KERNELS[net.name], weights, hyper, adam, gain.item(), shift.item(),
            batch_size, loss.scale(batch_size, N_CLASSES),
        )  # fmt: skip
    if engine == "auto":
        steps = len(images.train_labels) // batch_size * schedule.epochs
        eager_seconds = steps * (_EAGER_STEP + _EAGER_MODEL * len(recipes))
        engine = "compile" if eager_seconds > _COMPILE_PAYS else "eager"
    return StackedNets(
        module, layout, weights.to(device), hyper.to(device), adam.to(device),
        gain.to(device), shift.to(device), batch_size, loss,
        compile=engine == "compile",
    )  # fmt: skip


# Seconds: a step's fixed cost and a model's share of it in eager mode, and the
# eager time above which compiling (some 20 s) is worth its wait. Order of magnitude.
_EAGER_STEP, _EAGER_MODEL, _COMPILE_PAYS = 1e-3, 1e-5, 20.0


def check_request(
    net: NetSpec,
    recipes: Sequence[Recipe],
    images: ImageSet,
    schedule: Schedule,
    device: str = "cpu",
    engine: str = "auto",
) -> None:
    """Raise :func:`train_stack`'s errors, before anything takes time."""
    if not recipes:
        raise ValueError("no recipes: give at least one model to train.")
    check_device(device)
    expected = (net.channels, net.image_size, net.image_size)
    given = tuple(images.train_images.shape[1:])
    if given != expected:
        raise ValueError(
            f"{net.name} takes images of shape {list(expected)}, '{images.name}' has "
            f"{list(given)}: load the set with size={net.image_size}, or choose one "
            f"with {net.channels} channel(s)."
        )
    if schedule.batch_size > len(images.train_labels):
        raise ValueError(
            f"batch_size {schedule.batch_size} is larger than the "
            f"{len(images.train_labels)} training images of '{images.name}': lower it."
        )
    module = net.build()
    if list(module.buffers()):
        raise ValueError(
            f"{net.name} keeps buffers (running statistics): stacked training updates "
            "weights only, so use a net without batch norm."
        )
    outputs = module(torch.zeros(1, *expected)).shape[-1]
    if images.n_classes > outputs:
        raise ValueError(
            f"{net.name} has {outputs} outputs, '{images.name}' has "
            f"{images.n_classes} classes: choose a set of at most {outputs} classes."
        )
    if engine not in ("auto", "kernel", "compile", "eager"):
        raise ValueError(
            f"unknown engine '{engine}': choose auto, kernel, compile or eager."
        )
    if engine == "kernel" and not _kernel_applies(net, schedule, device):
        raise ValueError(
            "the kernels train A1 and A2 with a squared error on the CPU only: choose "
            "engine 'auto'."
        )


def _kernel_applies(net: NetSpec, schedule: Schedule, device: str) -> bool:
    squared = LOSSES[schedule.loss].per_sample is squared_error
    return (
        net in (NETS["A1"], NETS["A2"])
        and squared
        and torch.device(device).type == "cpu"
    )


def _generator(seed: int, stream: str) -> torch.Generator:
    """Independent random streams of one seed."""
    key = np.random.SeedSequence([seed, *stream.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(key[0] >> 1))


def _batches(generator: torch.Generator, n: int, used: int) -> Tensor:
    """A fresh order of n images, cut to whole batches, int32 [used]."""
    return torch.randperm(n, generator=generator, dtype=torch.int32)[:used]
