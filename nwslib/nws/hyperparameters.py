"""What is drawn for each net: Table 1 of "Classifying the classifier"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from nwslib.nws.architecture import (
    ACTIVATIONS,
    CONV_LAYERS,
    CONV_WIDTHS,
    FC_LAYERS,
    FC_WIDTHS,
    FILTER_SIZES,
    FIXED,
    INITIALISATIONS,
    Architecture,
)

#: Values of the hyper-parameters that no architecture has (Table 1).
LEARNING_RATES = (2e-4, 5e-3)  # drawn uniformly in between
BATCH_SIZES = (32, 64, 128, 256)
OPTIMIZERS = ("adam", "rmsprop", "momentum")

#: The twelve hyper-parameters by the names that tables use, in Table 1's order.
NAMES = (
    "dataset", "lr", "batch_size", "augmentation", "optimizer", "activation", "init",
    "filter_size", "conv_layers", "fc_layers", "conv_width", "fc_width",
)  # fmt: skip


@dataclass(frozen=True)
class HyperParameters:
    """One net's row of Table 1.

    Attributes
    ----------
    dataset : str
        Name of an image set.
    lr : float
        Learning rate of the first epoch.
    batch_size : int
    augmentation : bool
    optimizer : {"adam", "rmsprop", "momentum"}
    activation : {"relu", "elu", "sigmoid", "tanh"}
    init : {"constant", "normal", "glorot_uniform", "glorot_normal"}
    architecture : Architecture
    """

    dataset: str
    lr: float
    batch_size: int
    augmentation: bool
    optimizer: str
    activation: str
    init: str
    architecture: Architecture = FIXED

    def __post_init__(self) -> None:
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("activation", tuple(ACTIVATIONS)),
            ("init", tuple(INITIALISATIONS)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}: choose one of {list(known)}."
                )
        if not self.lr > 0 or self.batch_size < 2:
            raise ValueError(
                f"lr is {self.lr} and batch_size {self.batch_size}: give a positive "
                "rate and at least 2 images, for batch norm needs them."
            )

    def row(self) -> dict[str, object]:
        """Plain values by the names of Table 1 (``NAMES``), and ``batch_norm``."""
        own = asdict(self)
        return own | own.pop("architecture")


def draw(
    seed: int,
    run: int,
    datasets: Sequence[str],
    *,
    fixed_architecture: bool = False,
    inits: Sequence[str] = tuple(INITIALISATIONS),
) -> HyperParameters:
    """Draw a run's hyper-parameters, each independent and uniform (Table 1).

    A run's values follow from ``seed`` and its number alone, not from how many others
    are drawn, nor where.

    Parameters
    ----------
    seed : int
        The sampling's.
    run : int
        Counted from 0.
    datasets : sequence of str
        Image sets to choose from.
    fixed_architecture : bool
        Give every run the fixed architecture and draw only the rest (the paper's set
        C_fixed instead of C_main).
    inits : sequence of str
        Initialisations to choose from. Whatever they are, all else is drawn alike.
    """
    rng = np.random.default_rng(stream(seed, run, "hyper-parameters"))

    def choose(values: Sequence) -> object:
        return values[int(rng.integers(len(values)))]

    return HyperParameters(
        dataset=choose(datasets),
        lr=float(rng.uniform(*LEARNING_RATES)),
        batch_size=choose(BATCH_SIZES),
        augmentation=choose((False, True)),
        optimizer=choose(OPTIMIZERS),
        activation=choose(tuple(ACTIVATIONS)),
        init=choose(inits),
        architecture=FIXED
        if fixed_architecture
        else Architecture(
            filter_size=choose(FILTER_SIZES),
            conv_layers=choose(CONV_LAYERS),
            fc_layers=choose(FC_LAYERS),
            conv_width=choose(CONV_WIDTHS),
            fc_width=choose(FC_WIDTHS),
        ),
    )


#: What a run draws at random, each from a stream of its own, so that drawing more of
#: one thing changes no other.
_STREAMS = ("hyper-parameters", "init", "split", "batches", "augmentation", "dropout")


def stream(seed: int, run: int, name: str) -> np.random.SeedSequence:
    """Source of a run's random numbers of one sort."""
    return np.random.SeedSequence((seed, run, _STREAMS.index(name)))
