"""Which weights belong together: five layers of six kinds, two parts of a net."""

from __future__ import annotations

from nwslib.features.statistics import NAMES
from nwslib.flatten import Layout, Slice
from nwslib.nws.conv_map import KINDS

#: The five layers of layer-wise features, by their names in the fixed architecture.
LAYERS = ("conv1", "conv2", "conv3", "fc1", "fc2")
#: Parts of a net that slices may be taken from.
PARTS = ("all", "conv", "fc")


def layerwise_names(layout: Layout) -> tuple[str, ...]:
    """Names of the layer-wise features, the fixed architecture's in every net.

    For example ``conv2.bias.p99`` and ``conv2.bias.grad.p99``. In a deeper net
    ``conv3`` stands for the last convolution, ``fc2`` for the last hidden layer.

    Raises
    ------
    ValueError
        If the layout lacks a group.
    """
    return tuple(
        f"{layer}.{kind}.{name}" for layer, kind in groups(layout) for name in NAMES
    )


def groups(layout: Layout) -> dict[tuple[str, str], Slice]:
    """Where the thirty groups of layer-wise features are, by the fixed net's names.

    Parameters
    ----------
    layout : Layout
        Of a net of the sampled family (:mod:`nwslib.nws.architecture`).

    Returns
    -------
    dict of (layer, kind) to Slice
        Layer after layer (:data:`LAYERS`), each kind by kind.

    Raises
    ------
    ValueError
        If the layout lacks one.
    """
    convs = [layer for layer in layout.layers if layer.startswith("conv")]
    hidden = [layer for layer in layout.layers if layer.startswith("fc")][:-1]
    if len(convs) < 3 or len(hidden) < 2:
        raise ValueError(
            f"a net of the layers {list(layout.layers)} has no layer-wise features: "
            "they need three convolutions conv1, conv2, ..., two hidden fully "
            "connected layers fc1, ... and an output layer."
        )
    layers = (*convs[:2], convs[-1], hidden[0], hidden[-1])
    found = {(piece.layer, piece.kind): piece for piece in layout}
    missing = [
        f"{layer}.{kind}"
        for layer in layers
        for kind in KINDS
        if (layer, kind) not in found
    ]
    if missing:
        raise ValueError(
            f"the layout has no '{missing[0]}': layer-wise features need batch norm "
            f"in all layers but the last, that is all of {list(KINDS)}."
        )
    return {
        (name, kind): found[layer, kind]
        for name, layer in zip(LAYERS, layers, strict=True)
        for kind in KINDS
    }


def bounds(layout: Layout, part: str) -> tuple[int, int]:
    """First weight of a part of a net, and the one after its last.

    Parameters
    ----------
    layout : Layout
    part : str
        Out of :data:`PARTS`; ``fc`` holds the output layer too.

    Raises
    ------
    ValueError
        If the part is unknown, or the net has none.
    """
    if part not in PARTS:
        raise ValueError(f"unknown part '{part}': choose one of {list(PARTS)}.")
    if part == "all":
        return 0, layout.size
    pieces = [piece for piece in layout if piece.layer.startswith(part)]
    if not pieces:
        raise ValueError(
            f"a net of the layers {list(layout.layers)} has no part '{part}': take "
            "slices of 'all'."
        )
    return pieces[0].start, pieces[-1].stop
