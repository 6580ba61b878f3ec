"""Which net of the sampled family a checkpoint holds, or what makes it another.

The family is that of :mod:`nwslib.nws.architecture`: 243 architectures with batch norm.
Its five numbers are read off the shapes; then every name and shape has to be that
architecture's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from torch import Tensor

from nwslib.checkpoints.refusal import quoted
from nwslib.nws.architecture import (
    CONV_LAYERS,
    CONV_WIDTHS,
    FC_LAYERS,
    FC_WIDTHS,
    FILTER_SIZES,
    Architecture,
)


class NotOfTheFamily(ValueError):
    """A net of another architecture; the message says what differs, as a clause."""


def recognise(
    state: Mapping[str, Tensor],
) -> tuple[Architecture, dict[str, Tensor]]:
    """Tell a net's architecture from the names and shapes of its tensors.

    The order of the entries does not count, nor does their precision, nor a prefix
    that all names share, such as ``model.``; integers, which are counters, are passed
    over.

    Parameters
    ----------
    state : mapping of str to Tensor
        A ``state_dict``.

    Returns
    -------
    architecture : Architecture
    state : dict of str to Tensor
        By the family's names, in the order of its vector.

    Raises
    ------
    NotOfTheFamily
        If it is none of the 243 nets with batch norm.
    """
    floating = {name: t for name, t in state.items() if t.is_floating_point()}
    # Of a single name nothing is a prefix: it would lose more than a wrapper's name.
    shared = os.path.commonprefix(list(floating)) if len(floating) > 1 else ""
    prefix = shared[: shared.rfind(".") + 1]
    floating = {name.removeprefix(prefix): t for name, t in floating.items()}
    architecture = _read_off(floating)
    expected = {piece.name: piece.shape for piece in architecture.layout}
    for name, shape in expected.items():
        if name not in floating:
            raise NotOfTheFamily(f"it has no {quoted(name)}")
        if tuple(floating[name].shape) != shape:
            raise NotOfTheFamily(
                f"{quoted(name)} is {_by(floating[name].shape)} where the net that it "
                f"resembles most, {architecture.name}, has {_by(shape)}"
            )
    if extra := sorted(floating.keys() - expected.keys()):
        raise NotOfTheFamily(
            f"it has {quoted(extra[0])}, which no net of the family has"
        )
    return architecture, {name: floating[name] for name in expected}


def _read_off(state: Mapping[str, Tensor]) -> Architecture:
    """The architecture that the first layers' shapes and the layers' number give."""
    kernel, dense = state.get("conv1.weight"), state.get("fc1.weight")
    for name, tensor, n_dims in (("conv1", kernel, 4), ("fc1", dense, 2)):
        if tensor is None:
            some = ", ".join(quoted(each) for each in sorted(state)[:3])
            raise NotOfTheFamily(
                f"it has no '{name}.weight'; its tensors are called {some or 'nothing'}"
                f"{', ...' if len(state) > 3 else ''}"
            )
        if tensor.dim() != n_dims:
            raise NotOfTheFamily(
                f"'{name}.weight' has {tensor.dim()} dimensions instead of {n_dims}"
            )
    counts = {
        kind: sum(f"{kind}{k + 1}.weight" in state for k in range(len(state)))
        for kind in ("conv", "fc")
    }
    read = (
        ("filter size", kernel.shape[-1], FILTER_SIZES),
        ("number of convolutions", counts["conv"], CONV_LAYERS),
        ("number of fully connected layers", counts["fc"], FC_LAYERS),
        # Its first convolution has a quarter of the last one's channels.
        ("last convolution's width", 4 * kernel.shape[0], CONV_WIDTHS),
        ("first fully connected layer's width", dense.shape[0], FC_WIDTHS),
    )
    for what, value, known in read:
        if value not in known:
            raise NotOfTheFamily(
                f"its {what} would be {value}, and the family has {_or(known)}"
            )
    if not any(name.endswith((".gamma", ".var")) for name in state):
        raise NotOfTheFamily(
            "it has no batch norm, whose statistics the guess rests upon"
        )
    return Architecture(*(value for _, value, _ in read))


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def _or(values: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
