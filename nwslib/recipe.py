"""How nets are trained: what may differ from net to net, and what is shared.

A :class:`Recipe` belongs to one model, a :class:`Schedule` to the whole stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from nwslib.nets import INITIALISATIONS

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


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over classes of each sample's squared error, [batch]."""
    return (outputs - targets).square().mean(-1)  # [batch]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each sample's cross entropy, [batch]."""
    return -(targets * F.log_softmax(outputs, -1)).sum(-1)  # [batch]


#: Losses by name. "MSE" leaves open over what the mean is taken; with weight decay
#: the three readings train differently (they scale the gradient, not the decay).
LOSSES = {
    "mse": Loss(squared_error, lambda batch, classes: 1 / batch),
    "mse-class-sum": Loss(squared_error, lambda batch, classes: classes / batch),
    "mse-sum": Loss(squared_error, lambda batch, classes: classes),
    "cross-entropy": Loss(cross_entropy, lambda batch, classes: 1 / batch),
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
