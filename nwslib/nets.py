"""The nets that are studied: A1 and A2 of the version-control paper.

Schuerholt & Borth, "An Investigation of the Weight Space for Version Control of
Neural Networks", Table 1. Neither net has biases: only so do the weight counts
come out as printed, 2160 (Table 3) and 1376 (Table 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class A1(nn.Module):
    """Fully connected net 196-10-10-10 with sigmoids; 2160 weights.

    Input [batch, 1, 14, 14] or [batch, 196], output [batch, 10].
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(14 * 14, 10, bias=False)  # 1960 weights
        self.fc2 = nn.Linear(10, 10, bias=False)  # 100
        self.fc3 = nn.Linear(10, 10, bias=False)  # 100

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)  # [batch, 196]
        x = torch.sigmoid(self.fc1(x))  # [batch, 10]
        x = torch.sigmoid(self.fc2(x))  # [batch, 10]
        return self.fc3(x)  # [batch, 10]


class A2(nn.Module):
    """Convolutional net, two stages of conv, max-pool, LeakyReLU; 1376 weights.

    Input [batch, 1, 14, 14], output [batch, 10].
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False)  # 144
        self.conv2 = nn.Conv2d(16, 8, 3, stride=2, padding=1, bias=False)  # 1152
        self.fc = nn.Linear(8, 10, bias=False)  # 80

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)  # [batch, 16, 7, 7]
        x = F.leaky_relu(F.max_pool2d(x, 2))  # [batch, 16, 3, 3]
        x = self.conv2(x)  # [batch, 8, 2, 2]
        x = F.leaky_relu(F.max_pool2d(x, 2))  # [batch, 8, 1, 1]
        return self.fc(x.flatten(1))  # [batch, 10]


@dataclass(frozen=True)
class NetSpec:
    """A named architecture and the images it takes.

    Attributes
    ----------
    name : str
        As the paper calls it.
    build : callable
        Returns a fresh, initialised module.
    channels, image_size : int
        Input images are [channels, image_size, image_size].
    """

    name: str
    build: Callable[[], nn.Module]
    channels: int = 1
    image_size: int = 14


#: Every named architecture.
NETS = {"A1": NetSpec("A1", A1), "A2": NetSpec("A2", A2)}


def get_net(name: str) -> NetSpec:
    """Look an architecture up by name; ValueError names the known ones."""
    if name not in NETS:
        raise ValueError(f"unknown net '{name}': choose one of {sorted(NETS)}.")
    return NETS[name]


def initialise(module: nn.Module, scheme: str, generator: torch.Generator) -> nn.Module:
    """Draw a module's weights afresh, reproducibly.

    Parameters
    ----------
    module : Module
        Changed in place.
    scheme : {"kaiming_normal", "kaiming_uniform", "xavier_normal", \
"xavier_uniform", "normal", "constant"}
        Weight matrices and kernels follow :mod:`torch.nn.init` at its default
        gain (``normal`` is N(0, 1), ``constant`` is 0.1); biases become 0 and
        vectors such as batch norm's gamma stay as built. "Kaiming Normal" of
        Table 1 is ``kaiming_normal``.
    generator : torch.Generator
        Source of the random numbers.

    Returns
    -------
    Module
        The same module.
    """
    if scheme not in INITIALISATIONS:
        raise ValueError(
            f"unknown initialisation '{scheme}': choose one of "
            f"{sorted(INITIALISATIONS)}."
        )
    for name, weight in module.named_parameters():
        if weight.dim() > 1:
            INITIALISATIONS[scheme](weight.detach(), generator)
        elif name.rpartition(".")[2] == "bias":
            nn.init.zeros_(weight)
    return module


#: Initialisation schemes by name: (tensor, generator) -> fills the tensor.
INITIALISATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "kaiming_normal": lambda w, g: nn.init.kaiming_normal_(w, generator=g),
    "kaiming_uniform": lambda w, g: nn.init.kaiming_uniform_(w, generator=g),
    "xavier_normal": lambda w, g: nn.init.xavier_normal_(w, generator=g),
    "xavier_uniform": lambda w, g: nn.init.xavier_uniform_(w, generator=g),
    "normal": lambda w, g: nn.init.normal_(w, generator=g),
    "constant": lambda w, g: nn.init.constant_(w, 0.1),
}
