"""Train many nets at once: one stack of weight vectors, one step for all.

A net is a row of a [models, weights] matrix. ``torch.func`` turns a single net's
gradient into the stack's, and because the optimizer works on the rows, everything
about training may differ from model to model: seed, initialisation, order of
batches, optimizer, learning rate, momentum, weight decay.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from nwslib.data import ImageSet, pixel_statistics
from nwslib.flatten import Layout
from nwslib.nets import INITIALISATIONS, NETS, NetSpec, initialise

if TYPE_CHECKING:
    from nwslib.kernels import A2Kernel

OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class Recipe:
    """How one model of a stack is trained.

    Attributes
    ----------
    seed : int
        Draws the initial weights and, unless ``batch_seed`` is given, the batches.
    optimizer : {"sgd", "adam", "adamw"}
        As in :mod:`torch.optim`.
    lr : float
        Learning rate.
    momentum : float
        SGD's momentum; Adam's and AdamW's beta1.
    weight_decay : float
        L2 penalty in SGD and Adam, decoupled in AdamW.
    beta2, eps : float
        Adam's and AdamW's second-moment decay and denominator term.
    init : str
        A key of :data:`nwslib.nets.INITIALISATIONS`.
    batch_seed : int, optional
        Draws the order of batches.
    """

    seed: int = 0
    optimizer: str = "sgd"
    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 0.0
    beta2: float = 0.999
    eps: float = 1e-8
    init: str = "kaiming_normal"
    batch_seed: int | None = None

    def __post_init__(self) -> None:
        for value, known, word in (
            (self.optimizer, OPTIMIZERS, "optimizer"),
            (self.init, sorted(INITIALISATIONS), "initialisation"),
        ):
            if value not in known:
                raise ValueError(
                    f"unknown {word} '{value}': choose one of {list(known)}."
                )
        if self.seed < 0 or (self.batch_seed or 0) < 0:
            raise ValueError(f"seeds must not be negative, got {self}.")
        for name, low, high in (
            ("lr", 0.0, math.inf),
            ("momentum", 0.0, 1.0),
            ("weight_decay", 0.0, math.inf),
            ("beta2", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value < high:
                raise ValueError(
                    f"{name} is {value}: give a number from {low:g} up to {high:g}."
                )


@dataclass(frozen=True)
class Loss:
    """A training loss: ``scale(batch, classes)`` times the sum over samples.

    Attributes
    ----------
    per_sample : callable
        (outputs [batch, classes], one-hot targets [batch, classes]) -> [batch].
        This is also what the training history reports, averaged over samples.
    scale : callable
        (batch size, number of classes) -> factor of the summed ``per_sample``.
    """

    per_sample: Callable[[Tensor, Tensor], Tensor]
    scale: Callable[[int, int], float]


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(-1)  # [batch]


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(targets * F.log_softmax(outputs, -1)).sum(-1)  # [batch]


#: Losses by name. "MSE" leaves open over what the mean is taken; with weight decay
#: the three readings train differently (they scale the gradient, not the decay).
LOSSES = {
    "mse": Loss(_squared_error, lambda batch, classes: 1 / batch),
    "mse-class-sum": Loss(_squared_error, lambda batch, classes: classes / batch),
    "mse-sum": Loss(_squared_error, lambda batch, classes: classes),
    "cross-entropy": Loss(_cross_entropy, lambda batch, classes: 1 / batch),
}


@dataclass(frozen=True)
class Schedule:
    """What all models of a stack share.

    Attributes
    ----------
    epochs : int
        Passes over the training images; an incomplete last batch is left out, and
        the next epoch's fresh order brings its images back.
    batch_size : int
    snapshots : tuple of int, optional
        Epochs whose weights are kept, 0 being the initial ones; all by default.
    loss : str
        A key of :data:`LOSSES`.
    standardise : bool
        Inputs to mean 0 and deviation 1 over the training pixels of each channel;
        otherwise pixels / 255.
    """

    epochs: int
    batch_size: int
    snapshots: tuple[int, ...] | None = None
    loss: str = "mse"
    standardise: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"epochs and batch_size must be at least 1, got {self.epochs} and "
                f"{self.batch_size}."
            )
        if self.loss not in LOSSES:
            raise ValueError(
                f"unknown loss '{self.loss}': choose one of {sorted(LOSSES)}."
            )
        if self.snapshots is None:
            object.__setattr__(self, "snapshots", tuple(range(self.epochs + 1)))
        epochs = set(range(self.epochs + 1))
        if list(self.snapshots) != sorted(epochs.intersection(self.snapshots)):
            raise ValueError(
                f"snapshots {self.snapshots} must be increasing epochs from 0 to "
                f"{self.epochs}."
            )


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
        Accuracy is a share in [0, 1]; loss is :class:`Loss`'s per-sample value.
    diverged : ndarray of bool, shape [models]
        Whether any kept or final weight is not finite.
    """

    layout: Layout
    snapshots: tuple[int, ...]
    weights: Tensor
    accuracy: dict[str, np.ndarray]
    loss: dict[str, np.ndarray]
    diverged: np.ndarray


class StackedNets:
    """Many nets of one architecture in training, any module, any device.

    Parameters
    ----------
    module : Module
        The architecture; only its forward is used. It must not keep running
        statistics.
    layout : Layout
    weights : Tensor, shape [models, weights]
        Initial weights.
    hyper, adam : Tensor, shapes [models, 8] and [models]
        See :func:`_hyper_parameters`.
    gain, shift : Tensor, shapes [channels, 1, 1]
        Network input is ``pixel * gain + shift``.
    batch_size : int
    loss : Loss
    compile : bool
        Use ``torch.compile``; falls back to eager, in one line, where it cannot.
    """

    def __init__(
        self,
        module: nn.Module,
        layout: Layout,
        weights: Tensor,
        hyper: Tensor,
        adam: Tensor,
        gain: Tensor,
        shift: Tensor,
        batch_size: int,
        loss: Loss,
        compile: bool,
    ) -> None:
        self.weights = weights
        self._first, self._second = torch.zeros_like(weights), torch.zeros_like(weights)
        self._hyper, self._adam = hyper, adam
        self._batch_size = batch_size
        any_adam = bool(adam.any())
        # [models, 1] columns, so that they broadcast over weights
        columns = tuple(hyper.float().unsqueeze(-1).unbind(1))

        def objective(vector: Tensor, images: Tensor, labels: Tensor):
            """One net, one batch: objective and (summed loss, hits)."""
            images = images * gain + shift  # [batch, channels, height, width]
            outputs = functional_call(module, layout.unflatten(vector), (images,))
            classes = outputs.shape[-1]
            targets = labels[:, None] == torch.arange(classes, device=labels.device)
            total = loss.per_sample(outputs, targets.to(outputs.dtype)).sum()
            hits = (outputs.argmax(-1) == labels).sum()
            return loss.scale(len(labels), classes) * total, (total, hits)

        def step(weights, first, second, sums, images, labels, index, fix1, fix2):
            batch = images[index].float()  # [models, batch, channels, height, width]
            gradient, (total, hits) = vmap(grad(objective, has_aux=True))(
                weights, batch, labels[index]
            )
            weights, first, second = _update(
                weights, gradient, first, second, columns, fix1, fix2,
                adam[:, None] if any_adam else None,
            )  # fmt: skip
            return weights, first, second, sums + torch.stack([total, hits], -1)

        def scores(weights, images, labels):
            total, hits = vmap(
                lambda vector: objective(vector, images.float(), labels)[1]
            )(weights)
            return torch.stack([total, hits], -1)  # [models, 2]

        self._step = _compiled(step) if compile else step
        self._scores = scores

    @torch.no_grad()
    def train(
        self, images: Tensor, labels: Tensor, order: Tensor, step0: int
    ) -> Tensor:
        """One pass over ``order`` [models, steps * batch]; sums [models, 2].

        The sums are each model's summed per-sample loss and number of hits.
        """
        models, device = len(self.weights), self.weights.device
        order = order.to(device).reshape(models, -1, self._batch_size)
        order = order.transpose(0, 1).contiguous()  # [steps, models, batch]
        # float32 counts hits exactly up to 2^24 samples an epoch
        sums = torch.zeros(models, 2, device=device)
        state = (self.weights, self._first, self._second, sums)
        for number, index in enumerate(order, start=step0 + 1):
            fix1 = (1 - self._hyper[:, 1:2] ** number).float()  # [models, 1]
            fix2 = (1 - self._hyper[:, 5:6] ** number).float()
            state = self._step(*state, images, labels, index, fix1, fix2)
        self.weights, self._first, self._second, sums = state
        return sums.double().cpu()

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Summed per-sample loss and number of hits of each model, [models, 2]."""
        sums = torch.zeros(len(self.weights), 2, dtype=torch.float64)
        for x, y in zip(images.split(1000), labels.split(1000), strict=True):
            sums += self._scores(self.weights, x, y).double().cpu()
        return sums


def _update(weights, gradient, first, second, columns, fix1, fix2, adam):
    """SGD, Adam and AdamW as one formula with per-model coefficients.

    first = momentum * first + gain * gradient, with gain 1 in SGD and
    1 - momentum in Adam; Adam's rows then move by the bias-corrected first over
    the root of the second moment. ``adam`` [models, 1] says which rows, None that
    there are none. All else is [models, weights] or [models, 1].
    """
    lr, momentum, gain, l2, shrink, beta2, gain2, eps = columns
    gradient = gradient + l2 * weights
    first = momentum * first + gain * gradient
    move = first
    if adam is not None:
        second = beta2 * second + gain2 * gradient.square()
        scaled = (first / fix1) / ((second / fix2).sqrt() + eps)
        move = torch.where(adam, scaled, first)
    return shrink * weights - lr * move, first, second


def _hyper_parameters(recipes: Sequence[Recipe]) -> tuple[Tensor, Tensor]:
    """Per-model coefficients of :func:`_update`.

    Returns
    -------
    hyper : Tensor of float64, shape [models, 8]
        lr, momentum, gain, l2, shrink, beta2, gain2 = 1 - beta2, eps.
    adam : Tensor of bool, shape [models]
    """
    rows = [
        (
            r.lr,
            r.momentum,
            1.0 if r.optimizer == "sgd" else 1 - r.momentum,
            0.0 if r.optimizer == "adamw" else r.weight_decay,
            1 - r.lr * r.weight_decay if r.optimizer == "adamw" else 1.0,
            r.beta2,
            1 - r.beta2,  # here, because float32 keeps too few digits of it
            r.eps,
        )
        for r in recipes
    ]
    adam = torch.tensor([r.optimizer != "sgd" for r in recipes])
    return torch.tensor(rows, dtype=torch.float64), adam


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
        ``kernel`` is A2's compiled loop on the CPU; ``compile`` and ``eager`` run
        any module through ``torch.func``. ``auto`` takes the kernel where it
        applies and compiles where that repays its own time.
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
    bar = _progress(net.name, len(recipes), schedule.epochs, progress)
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
) -> StackedNets | A2Kernel:
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
    hyper, adam = _hyper_parameters(recipes)
    loss, batch_size = LOSSES[schedule.loss], schedule.batch_size

    if engine in ("auto", "kernel") and _kernel_applies(net, schedule, device):
        from nwslib.kernels import N_CLASSES, A2Kernel  # numba: only where it is used

        scale = loss.scale(batch_size, N_CLASSES)
        return A2Kernel(
            weights, hyper, adam, gain.item(), shift.item(), batch_size, scale
        )
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
            "the kernel trains A2 with a squared error on the CPU only: choose engine "
            "'auto'."
        )


def _kernel_applies(net: NetSpec, schedule: Schedule, device: str) -> bool:
    squared = LOSSES[schedule.loss].per_sample is _squared_error
    return net == NETS["A2"] and squared and torch.device(device).type == "cpu"


def _generator(seed: int, stream: str) -> torch.Generator:
    """Independent random streams of one seed."""
    key = np.random.SeedSequence([seed, *stream.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(key[0] >> 1))


def _batches(generator: torch.Generator, n: int, used: int) -> Tensor:
    """A fresh order of n images, cut to whole batches, int32 [used]."""
    return torch.randperm(n, generator=generator, dtype=torch.int32)[:used]


def _compiled(step: Callable) -> Callable:
    """``torch.compile`` that turns itself off where it does not work."""
    current = torch.compile(step, dynamic=False, fullgraph=True)

    def run(*args):
        nonlocal current
        if current is step:
            return step(*args)
        try:
            return current(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
            warnings.warn(
                f"torch.compile is not available here ({reason}): training goes on "
                "in eager mode, several times slower.",
                stacklevel=2,
            )
            current = step
            return step(*args)

    return run


def _progress(name: str, models: int, epochs: int, show: bool):
    """Bar over epochs that says models, epochs and time left."""
    from tqdm import tqdm

    return tqdm(
        total=epochs,
        desc=f"{name}, {models} models",
        unit="epoch",
        disable=not show,
        bar_format="{desc}: epoch {n_fmt}/{total_fmt} |{bar}| {remaining} left",
    )
