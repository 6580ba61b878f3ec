"""Deep meta-classifiers: one-dimensional convolutional nets that read weights.

Eilertsen et al., "Classifying the classifier" (2020), Table 3 (supplement F.1). The
global one reads a net's whole vector, the local one a slice of it. A convolution or
fully connected layer is followed by ReLU, then batch norm; only the last is not. The
paper leaves open how batch norm averages: torch's defaults are taken.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Length of a global DMC's input, the fixed architecture's weights; of a local one's.
GLOBAL_LENGTH, LOCAL_LENGTH = 92_868, 5000
#: Share of a fully connected layer's units that a training step leaves out.
DROPOUT = 0.5

# Table 3: channels of each convolution, and whether a max-pool follows. None: while
# there is more than _LONG left (layers 6 to 11, supplement F.2).
_GLOBAL: tuple[tuple[int, bool | None], ...] = (
    (8, True), (16, True), (32, True), (64, True), (128, True),
    (128, True), (128, True), (128, True), (128, True), (128, False),
    (256, True), (256, False), (256, True), (256, False), (256, True),
)  # fmt: skip
_LOCAL: tuple[tuple[int, bool | None], ...] = (
    (8, True), (16, True), (32, False), (64, True), (128, False),
    (256, None), (256, None), (256, None), (256, None), (256, None), (256, None),
    (256, True),
)  # fmt: skip
# Units of the fully connected layers before the last one.
_FC = (1024, 1024, 1024, 1024, 64)
# The paper does not print the rule. This one gives Table 3 for 5,000 weights, pools
# after all of layers 6 to 11 for 20,000, and after none of them for 100.
_LONG = 50
_KERNEL = 5


@dataclass(frozen=True)
class Layer:
    """One layer of a DMC.

    Attributes
    ----------
    name : str
        ``conv1``, ``conv2``, ..., ``fc1``, ...
    inputs, outputs : int
        Channels of a convolution, units of a fully connected layer.
    length : int
        Places of a convolution's output, before any pool; 1 for a fully connected
        layer.
    pool : bool
        Whether a max-pool of 2 follows; an odd last place is left out.
    hidden : bool
        Whether ReLU, batch norm and, in fully connected layers, dropout follow: true
        for all but the last layer.
    """

    name: str
    inputs: int
    outputs: int
    length: int = 1
    pool: bool = False
    hidden: bool = True

    @property
    def is_conv(self) -> bool:
        """Whether it is a convolution."""
        return self.name.startswith("conv")

    @property
    def n_weights(self) -> int:
        """Weights and biases, and four batch-norm numbers a unit."""
        taps = _KERNEL if self.is_conv else 1
        return self.outputs * (self.inputs * taps + 1 + 4 * self.hidden)


@dataclass(frozen=True)
class Spec:
    """A DMC's layers.

    Attributes
    ----------
    length : int
        Weights that it reads at once.
    layers : tuple of Layer
        First to last.
    dropout : float
        After each fully connected layer but the last.
    log_unit : float
        Where positive, each weight w is read as sign(w) log(1 + abs(w) / log_unit).
    """

    length: int
    layers: tuple[Layer, ...]
    dropout: float = DROPOUT
    log_unit: float = 0.0

    @property
    def n_classes(self) -> int:
        """Classes that it tells apart."""
        return self.layers[-1].outputs

    @property
    def n_weights(self) -> int:
        """All its numbers, batch norm's statistics included, as Table 3 counts."""
        return sum(layer.n_weights for layer in self.layers)


def global_spec(
    n_classes: int,
    length: int = GLOBAL_LENGTH,
    width: float = 1.0,
    dropout: float = DROPOUT,
    log_unit: float = 0.0,
) -> Spec:
    """Layers of a DMC that reads a net's whole vector.

    Parameters
    ----------
    n_classes : int
    length : int
        Weights of a net.
    width : float
        Share of the paper's channels and units, for small machines; each layer keeps
        one at least.
    dropout : float
        Narrow nets learn little if half of their few units are left out: give less.
    log_unit : float
        See :class:`Spec`; 0, as the paper, reads weights as they are. A net has a few
        numbers hundreds of times as large as all others, such as running variances:
        with 0.01 they no longer drown them, and small budgets of training reach more.

    Returns
    -------
    Spec
        Twelve pools at any length, so that longer vectors give more weights.

    Raises
    ------
    ValueError
        If the pools leave nothing of the input, there are fewer than two classes, the
        width is not positive, the dropout no share, or the unit negative.
    """
    return _spec("global", _GLOBAL, n_classes, length, width, dropout, log_unit)


def local_spec(
    n_classes: int,
    length: int = LOCAL_LENGTH,
    width: float = 1.0,
    dropout: float = DROPOUT,
    log_unit: float = 0.0,
) -> Spec:
    """Layers of a DMC that reads a slice.

    Layers 6 to 11 have pools as long as more than 50 places are left, so that the
    number of weights stays about the same (supplement F.2).

    Parameters
    ----------
    n_classes : int
    length : int
        Weights in a slice (the paper's are 100 to 20,000, 5,000 unless told).
    width, dropout, log_unit : float
        As for :func:`global_spec`.

    Raises
    ------
    ValueError
        As :func:`global_spec`.
    """
    return _spec("local", _LOCAL, n_classes, length, width, dropout, log_unit)


def build(spec: Spec, seed: int = 0) -> nn.Sequential:
    """Make a net, initialised by Glorot's normal scheme, biases zero.

    Parameters
    ----------
    spec : Spec
    seed : int
        Of the first weights; torch's global generator is left alone.

    Returns
    -------
    Sequential
        Takes [batch, length], gives scores [batch, classes]; a batch of one is too
        small to train on.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if spec.log_unit:
        parts["log"] = SignedLog(spec.log_unit)
    parts["channel"] = nn.Unflatten(1, (1, spec.length))  # [batch, 1, length]
    with torch.random.fork_rng(devices=[]):  # modules draw first weights of their own
        for layer in spec.layers:
            if not layer.is_conv and "flat" not in parts:
                parts["flat"] = nn.Flatten()  # [batch, channels * places]
            parts[layer.name] = _module(layer, spec.dropout)
    net = nn.Sequential(parts)
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.xavier_normal_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
    return net


def _spec(
    kind: str,
    convolutions: tuple[tuple[int, bool | None], ...],
    n_classes: int,
    length: int,
    width: float,
    dropout: float,
    log_unit: float,
) -> Spec:
    """Follow the length of the input through a table."""
    if n_classes < 2:
        raise ValueError(f"n_classes is {n_classes}: a DMC tells apart two at least.")
    if not width > 0:
        raise ValueError(f"width is {width}: give a positive share, 1 for the paper's.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}: give a share of units below 1.")
    if log_unit < 0:
        raise ValueError(
            f"log_unit is {log_unit}: give a positive size, or 0 for none."
        )
    layers, inputs, left = [], 1, length
    for k, (channels, pool) in enumerate(convolutions):
        outputs = _scaled(channels, width)
        pool = left > _LONG if pool is None else pool
        layers.append(Layer(f"conv{k + 1}", inputs, outputs, left, pool))
        inputs, left = outputs, left // 2 if pool else left
    if left < 1:
        # Short inputs meet the printed pools only.
        least = 2 ** sum(pool is True for _, pool in convolutions)
        raise ValueError(
            f"an input of {length} weights is too short for a {kind} DMC, its pools "
            f"leave nothing: give {least} at least."
        )
    inputs *= left
    for k, units in enumerate(_FC):
        layers.append(Layer(f"fc{k + 1}", inputs, _scaled(units, width)))
        inputs = layers[-1].outputs
    layers.append(Layer(f"fc{len(_FC) + 1}", inputs, n_classes, hidden=False))
    return Spec(length, tuple(layers), dropout, log_unit)


def _scaled(units: int, width: float) -> int:
    return max(1, round(units * width))


def _module(layer: Layer, dropout: float) -> nn.Module:
    """The layer and what follows it."""
    if not layer.hidden:
        return nn.Linear(layer.inputs, layer.outputs)
    if not layer.is_conv:
        return nn.Sequential(
            nn.Linear(layer.inputs, layer.outputs),
            nn.ReLU(),
            nn.BatchNorm1d(layer.outputs),
            nn.Dropout(dropout),
        )
    parts = [
        nn.Conv1d(layer.inputs, layer.outputs, _KERNEL, padding=_KERNEL // 2),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(layer.outputs),
    ]
    return nn.Sequential(*parts, *[PairMax()] * layer.pool)


class SignedLog(nn.Module):
    """sign(x) log(1 + abs(x) / unit): linear near zero, logarithmic far beyond.

    Parameters
    ----------
    unit : float
    """

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        """Take and give any shape."""
        return x.abs().div_(self.unit).log1p_().copysign_(x)


class PairMax(nn.Module):
    """``MaxPool1d(2)``, to the bit, whose training is several times as fast on a CPU.

    Torch's own keeps the index of each maximum and finds it one place at a time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Take [batch, channels, n], give [batch, channels, n // 2]."""
        if x.requires_grad and x.device.type == "cpu":
            return _PairMax.apply(x)
        return F.max_pool1d(x, 2)


class _PairMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        even, odd = _pairs(x).unbind(-1)
        ctx.save_for_backward(even >= odd)  # of equal ones the first, as torch
        return torch.maximum(even, odd)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (first,) = ctx.saved_tensors
        result = gradient.new_empty(ctx.shape)
        result[..., 2 * gradient.shape[-1] :] = 0  # an odd last place
        even, odd = _pairs(result).unbind(-1)
        torch.mul(gradient, first, out=even)
        torch.mul(gradient, ~first, out=odd)
        return result


def _pairs(x: Tensor) -> Tensor:
    """A view [..., n // 2, 2] of [..., n]."""
    half = x.shape[-1] // 2
    return x[..., : 2 * half].unflatten(-1, (half, 2))
