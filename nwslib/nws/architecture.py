"""The family of nets that is sampled: Algorithm 1 of "Classifying the classifier".

Eilertsen et al., "Classifying the classifier: dissecting the weight space of neural
networks" (2020), supplement A.1. All images are 32 x 32 with three channels. Three
max-pools halve them, the channels double after each; fully connected layers follow,
each half as wide as the one before, then 20 outputs: ten more than there are classes,
as printed. A convolution is normalised before its activation, a fully connected layer
after it, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nwslib.flatten import Layout

#: Side and channels of the images, outputs of the last layer (the paper's 20).
IMAGE_SIZE, CHANNELS, OUTPUTS = 32, 3, 20

#: Values of the five architectural hyper-parameters (Table 1).
FILTER_SIZES = (3, 5, 7)
CONV_LAYERS = (3, 4, 5)
FC_LAYERS = (3, 4, 5)
CONV_WIDTHS = (16, 32, 48)
FC_WIDTHS = (64, 128, 192)

#: Activation functions by name (Table 1).
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "elu": F.elu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}

# The running statistics move by this share each step and the variance is guarded by
# this much: torch's defaults, for the paper gives none.
_BN_MOMENTUM, _BN_EPS = 0.1, 1e-5


@dataclass(frozen=True)
class Layer:
    """One layer of a net, in the order of its vector.

    Attributes
    ----------
    name : str
        ``conv1``, ``conv2``, ..., ``fc1``, ...
    inputs, outputs : int
        Channels of a convolution, units of a fully connected layer.
    filter_size : int
        Side of a convolution's kernel; 0 for a fully connected layer.
    pool : bool
        Whether a 2 x 2 max-pool follows.
    hidden : bool
        Whether activation, batch norm and, in fully connected layers, dropout
        follow: true for all but the last layer.
    """

    name: str
    inputs: int
    outputs: int
    filter_size: int = 0
    pool: bool = False
    hidden: bool = True


@dataclass(frozen=True)
class Architecture:
    """The five architectural hyper-parameters of Table 1; by default the fixed ones.

    Attributes
    ----------
    filter_size : {3, 5, 7}
    conv_layers, fc_layers : {3, 4, 5}
        The output layer counts as fully connected.
    conv_width : {16, 32, 48}
        Channels of the last convolution; the first has a quarter of them.
    fc_width : {64, 128, 192}
        Units of the first fully connected layer.
    batch_norm : bool
        Without it no layer is normalised (supplement F.3).
    """

    filter_size: int = 5
    conv_layers: int = 3
    fc_layers: int = 3
    conv_width: int = 32
    fc_width: int = 128
    batch_norm: bool = True

    def __post_init__(self) -> None:
        for name, known in (
            ("filter_size", FILTER_SIZES),
            ("conv_layers", CONV_LAYERS),
            ("fc_layers", FC_LAYERS),
            ("conv_width", CONV_WIDTHS),
            ("fc_width", FC_WIDTHS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}: choose one of {list(known)}."
                )

    @property
    def name(self) -> str:
        """Short name, for example ``f5-c3x32-d3x128``."""
        plain = "" if self.batch_norm else "-plain"
        return (
            f"f{self.filter_size}-c{self.conv_layers}x{self.conv_width}"
            f"-d{self.fc_layers}x{self.fc_width}{plain}"
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, first to last (Algorithm 1)."""
        w = self.conv_width // 4
        middle = [2 * w] * (2 if self.conv_layers > 4 else 1)
        final = [4 * w] * (2 if self.conv_layers > 3 else 1)
        layers, inputs = [], CHANNELS
        for stage in ([w], middle, final):
            for k, outputs in enumerate(stage):
                name, pool = f"conv{len(layers) + 1}", k == len(stage) - 1
                layers.append(Layer(name, inputs, outputs, self.filter_size, pool))
                inputs = outputs
        inputs *= (IMAGE_SIZE // 8) ** 2  # pixels after three pools
        for k in range(self.fc_layers - 1):
            layers.append(Layer(f"fc{k + 1}", inputs, self.fc_width >> k))
            inputs = self.fc_width >> k
        last = Layer(f"fc{self.fc_layers}", inputs, OUTPUTS, hidden=False)
        return (*layers, last)

    @property
    def layout(self) -> Layout:
        """Order of the vector: layer by layer W, b, beta, gamma, mean, variance."""
        with torch.device("meta"):
            return Layout.of(Net(self))

    @property
    def n_weights(self) -> int:
        """Length of the vector, batch norm's statistics included."""
        return self.layout.size

    @property
    def n_conv_weights(self) -> int:
        """How many of them, from the first on, belong to convolutions."""
        return sum(
            piece.size for piece in self.layout if piece.layer.startswith("conv")
        )


#: Every architecture of Table 1, 243 of them.
GRID = tuple(
    Architecture(*values)
    for values in product(FILTER_SIZES, CONV_LAYERS, FC_LAYERS, CONV_WIDTHS, FC_WIDTHS)
)

#: The fixed architecture (circled in Table 1), 92,868 weights.
FIXED = Architecture()


class Net(nn.Module):
    """A net of the family.

    Its ``state_dict`` is in the order of the paper's vector, with the first fully
    connected layer's inputs ordered height, width, channel. So
    ``Layout.of(net).flatten(net)`` is a vector of the released data.

    Parameters
    ----------
    architecture : Architecture
    activation : str
        A key of :data:`.ACTIVATIONS`.
    """

    def __init__(self, architecture: Architecture, activation: str = "relu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"unknown activation '{activation}': choose one of {list(ACTIVATIONS)}."
            )
        self.architecture, self.activation = architecture, ACTIVATIONS[activation]
        for layer in architecture.layers:
            self.add_module(
                layer.name, _Weights(layer, architecture.batch_norm and layer.hidden)
            )

    def forward(self, x: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Class scores.

        Parameters
        ----------
        x : Tensor, shape [batch, 3, 32, 32]
            Pixels from 0 to 1.
        masks : sequence of Tensor, shapes [batch, width], optional
            What dropout multiplies each hidden fully connected layer with, see
            :func:`.dropout_masks`; none by default.

        Returns
        -------
        Tensor, shape [batch, 20]
        """
        masks = iter(masks or ())
        for layer in self.architecture.layers:
            w = getattr(self, layer.name)
            if layer.filter_size:
                x = F.conv2d(x, w.weight, w.bias, padding="same")
                x = w.normalise(x)  # [batch, channels, side, side]
                if layer.pool:
                    # Every activation is increasing: after the pool it gives the
                    # same as before, for a quarter of the work.
                    x = F.max_pool2d(x, 2)
                x = self.activation(x)
            else:
                if x.dim() == 4:  # [batch, channels, 4, 4] -> [batch, 16 * channels]
                    x = x.permute(0, 2, 3, 1).flatten(1)
                x = F.linear(x, w.weight, w.bias)  # [batch, width]
                if layer.hidden:
                    x = w.normalise(self.activation(x))
                    mask = next(masks, None)
                    x = x if mask is None else x * mask
        return x


class _Weights(nn.Module):
    """One layer's entries of the vector, in its order."""

    def __init__(self, layer: Layer, batch_norm: bool) -> None:
        super().__init__()
        kernel = (layer.filter_size,) * 2 if layer.filter_size else ()
        shape = (layer.outputs, layer.inputs, *kernel)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(layer.outputs))
        self.batch_norm = batch_norm
        if batch_norm:
            self.beta = nn.Parameter(torch.zeros(layer.outputs))
            self.gamma = nn.Parameter(torch.ones(layer.outputs))
            self.register_buffer("mean", torch.zeros(layer.outputs))
            self.register_buffer("var", torch.ones(layer.outputs))

    def normalise(self, x: Tensor) -> Tensor:
        """Batch norm: the batch's statistics in training, the running ones else."""
        if not self.batch_norm:
            return x
        return F.batch_norm(
            x, self.mean, self.var, self.gamma, self.beta, self.training,
            _BN_MOMENTUM, _BN_EPS,
        )  # fmt: skip


def dropout_masks(
    architecture: Architecture, batch: int, generator: torch.Generator
) -> list[Tensor]:
    """Draw what dropout does to a batch: 0 or 2, half of each on average.

    Returns
    -------
    list of Tensor, shapes [batch, width]
        One for each hidden fully connected layer.
    """
    widths = [
        layer.outputs
        for layer in architecture.layers
        if layer.hidden and not layer.filter_size
    ]
    drawn = torch.rand(batch, sum(widths), generator=generator, device=generator.device)
    return list((drawn < 0.5).float().mul_(2).split(widths, dim=1))


def initialise(net: Net, scheme: str, generator: torch.Generator) -> Net:
    """Draw a net's weights; biases and batch norm stay as built.

    Parameters
    ----------
    net : Net
        Changed in place.
    scheme : str
        A key of :data:`INITIALISATIONS`.
    generator : torch.Generator

    Returns
    -------
    Net
        The same net.
    """
    if scheme not in INITIALISATIONS:
        raise ValueError(
            f"unknown initialisation '{scheme}': choose one of {list(INITIALISATIONS)}."
        )
    for name, weight in net.named_parameters():
        if name.endswith(".weight"):
            INITIALISATIONS[scheme](weight.detach(), generator)
    return net


def _glorot_normal(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Normal, cut off at two deviations and widened so that Glorot's remains."""
    receptive = weight[0, 0].numel()
    fans = (weight.shape[0] + weight.shape[1]) * receptive
    std = (2 / fans) ** 0.5 / 0.8796256610342398  # deviation of a normal cut at 2
    return nn.init.trunc_normal_(weight, 0, std, -2 * std, 2 * std, generator=generator)


#: Initialisations of weight matrices and kernels by name (Table 1, supplement A.1).
INITIALISATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "constant": lambda w, g: nn.init.constant_(w, 0.1),
    "normal": lambda w, g: nn.init.normal_(w, generator=g),
    "glorot_uniform": lambda w, g: nn.init.xavier_uniform_(w, generator=g),
    "glorot_normal": _glorot_normal,
}
