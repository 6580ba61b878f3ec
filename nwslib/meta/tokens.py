"""A net as tokens, one a layer, that do not depend on the order of its hidden units.

A hidden layer's units can be written in any order, if the inputs of the next layer
follow: the net computes the same function, its vector is another point. Statistics of
whole tensors (:mod:`nwslib.features`) forget the order too, except those of the
gradient, and with it which bias goes with which weights. Here each unit is described
first, by numbers in which the order of its inputs and outputs does not count
(:func:`unit_rows`), then a layer by how these numbers are distributed over its units
(:func:`tokens`); as in Zaheer et al., "Deep Sets" (2017), but with fixed functions
before the sum, so that little remains to be learned from few nets.

What has a fixed order in every net keeps it: the pixels of a kernel, and the 4 x 4
positions that a channel has as input of the first fully connected layer. Every
architecture of the family gives tokens of one shape: layers have roles, and the token
of a role that a net does not have is zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nwslib.flatten import Layout, Slice
from nwslib.zoo import Zoo

#: Roles of layers, one token each. ``conv`` is the last convolution, ``hidden`` the
#: last hidden fully connected layer; the layers before them are counted from 1.
ROLES = (
    "conv1", "conv2", "conv3", "conv4", "conv",
    "fc1", "fc2", "fc3", "hidden", "output",
)  # fmt: skip

_SHARES = (0, 0.01, 0.25, 0.5, 0.75, 0.99, 1)
# Of the weights into a unit, and of those out of it.
_OF_WEIGHTS = (
    "scale", "mean", "log_std", "skew", "kurtosis",
    *(f"p{round(100 * share)}" for share in _SHARES), "alike", "spread",
)  # fmt: skip
#: Numbers that describe a unit, see :func:`unit_rows`.
NUMBERS = (
    *(f"in.{name}" for name in _OF_WEIGHTS), "rough_y", "rough_x", "core",
    *(f"out.{name}" for name in _OF_WEIGHTS),
    "bias", "log_bias", "beta", "log_beta", "gamma", "log_gamma", "mean", "log_mean",
    "log_var", "mean/std", "bias/std", "log_gain", "log_gain_in",
)  # fmt: skip

_POOLED = (0.05, 0.25, 0.5, 0.75, 0.95)
_POOLS = ("mean", "std", *(f"p{round(100 * share)}" for share in _POOLED))
#: Numbers of a token: whether the net has the layer, then for each pool over the
#: layer's units (mean, std, five percentiles) all of :data:`NUMBERS`.
NAMES = ("present", *(f"{number}.{pool}" for pool in _POOLS for number in NUMBERS))

# What batch norm's variance is guarded by in the nets; smallest size of a logarithm's
# argument; spread of weights, as a share of their size, that is rounding only.
_EPS, _LEAST, _ROUNDING = 1e-5, 1e-12, 1e-6
# A layer without batch norm does as one with these numbers.
_NEUTRAL = {"beta": 0.0, "gamma": 1.0, "mean": 0.0, "var": 1.0}


def tokens(vectors: NDArray, layout: Layout) -> NDArray:
    """Describe nets by a token for each layer.

    Parameters
    ----------
    vectors : ndarray, shape [n, d]
        Nets of one layout, one a row.
    layout : Layout
        Of any net of the sampled family (:mod:`nwslib.nws.architecture`).

    Returns
    -------
    ndarray of float32, shape [n, len(ROLES), len(NAMES)]
        Zero for a layer that these nets do not have, NaN for a net with a weight that
        is not finite.

    Raises
    ------
    ValueError
        If the layout is of another family or does not fit the vectors.
    """
    vectors = _checked(vectors, layout)
    finite = np.isfinite(vectors).all(axis=1)
    found = np.zeros((finite.sum(), len(ROLES), len(NAMES)), dtype=np.float32)
    # rows [n, units, numbers]
    for role, rows in unit_rows(vectors[finite], layout).items():
        pooled = (
            rows.mean(1),
            rows.std(1),
            *_percentiles(np.sort(rows, 1), _POOLED, 1),
        )
        token = found[:, ROLES.index(role)]
        token[:, 0] = 1
        token[:, 1:] = np.concatenate(pooled, axis=1)
    all_nets = np.full((len(vectors), *found.shape[1:]), np.nan, dtype=np.float32)
    all_nets[finite] = found
    return all_nets


def of_zoo(
    zoo: Zoo,
    runs: Sequence[int] | None = None,
    snapshots: Iterable[int] | None = None,
) -> tuple[NDArray, pd.DataFrame]:
    """Tokens of a zoo's snapshots, one run in memory at a time.

    Parameters
    ----------
    zoo : Zoo
        Of one layout or several.
    runs : sequence of int, optional
        Ids; all runs by default.
    snapshots : iterable of int, optional
        All by default.

    Returns
    -------
    tokens : ndarray of float32, shape [rows, len(ROLES), len(NAMES)]
        A row a snapshot, run after run.
    index : DataFrame
        Of each row ``run`` and ``snapshot``.

    Raises
    ------
    ValueError
        As :func:`tokens`, and if a run or snapshot is not in the zoo.
    """
    ids = list(zoo.runs["run"] if runs is None else runs)
    epochs = list(zoo.snapshots if snapshots is None else snapshots)
    rows = np.empty((len(ids), len(epochs), len(ROLES), len(NAMES)), np.float32)
    for place, run in enumerate(ids):
        (vectors,) = zoo.weights([run], epochs)  # [snapshots, d]
        rows[place] = tokens(vectors, _layout_of(zoo, run))
    index = pd.DataFrame(
        {"run": np.repeat(ids, len(epochs)), "snapshot": np.tile(epochs, len(ids))}
    )
    return rows.reshape(-1, *rows.shape[2:]), index


def unit_rows(vectors: NDArray, layout: Layout) -> dict[str, NDArray]:
    """Describe every unit of every layer.

    Of the weights into a unit, and of those out of it: logarithm of their size (root
    mean square, and standard deviation) beside Glorot's, mean by size, skewness,
    kurtosis, percentiles in deviations from the mean, ``alike``, how large their mean
    over inputs (outputs) is, by size, and ``spread``, deviation over inputs of their
    energy, by its mean. Of the kernels' pixels ``rough_y`` and ``rough_x``, size of the
    differences of neighbours, and ``core``, size without the rim. Of the other five
    kinds the inverse hyperbolic sine, which leaves small numbers alone, and the
    logarithm of the size; the last four say what batch norm makes of them.

    Parameters
    ----------
    vectors : ndarray, shape [n, d]
        Nets of one layout, all weights finite.
    layout : Layout

    Returns
    -------
    dict of str to ndarray of float64, shapes [n, units, len(NUMBERS)]
        By role, first layer to last. A unit's numbers do not change, but for rounding,
        when units of other hidden layers change places.

    Raises
    ------
    ValueError
        As :func:`tokens`.
    """
    vectors, layers = _checked(vectors, layout), _layers(layout)
    weights, channels = [], 0
    for pieces in layers.values():
        weights.append(_kernels(vectors, pieces["weight"], channels))
        channels = weights[-1].shape[1]
    rows = {}
    for place, (role, pieces) in enumerate(layers.items()):
        into = weights[place]
        n, units = into.shape[:2]
        if place + 1 < len(weights):
            out = _of_weights(weights[place + 1].swapaxes(1, 2))
        else:
            out = [np.zeros((n, units))] * len(_OF_WEIGHTS)
        own = _of_unit(vectors, pieces, _size(into))
        numbers = [*_of_weights(into), *_of_pixels(into), *out, *own]
        rows[role] = np.stack(numbers, axis=-1)
    return rows


def _checked(vectors: NDArray, layout: Layout) -> NDArray:
    """ValueError unless there is one row for each net."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != layout.size:
        raise ValueError(
            f"vectors of shape {list(vectors.shape)} do not fit this layout: give one "
            f"row of {layout.size} weights for each net."
        )
    return vectors


def _layers(layout: Layout) -> dict[str, dict[str, Slice]]:
    """Tensors of each layer, by kind, by the layer's role, first to last."""
    found: dict[str, dict[str, Slice]] = {}
    for piece in layout:
        found.setdefault(piece.layer, {})[piece.kind] = piece
    dims = [
        len(pieces["weight"].shape) if {"weight", "bias"} <= pieces.keys() else 0
        for pieces in found.values()
    ]
    n_conv, n_fc = dims.count(4), dims.count(2)
    if dims != [4] * n_conv + [2] * n_fc or n_conv not in (3, 4, 5) or n_fc not in (
        3, 4, 5,
    ):  # fmt: skip
        raise ValueError(
            f"a net of the layers {list(layout.layers)} is none of the sampled family: "
            "tokens need three to five convolutions, then three to five fully "
            "connected layers, all with weight and bias."
        )
    roles = (*ROLES[: n_conv - 1], "conv", *ROLES[5 : 3 + n_fc], "hidden", "output")
    return dict(zip(roles, found.values(), strict=True))


def _kernels(vectors: NDArray, piece: Slice, channels: int) -> NDArray:
    """Weights of a layer as kernels, float64 [n, outputs, inputs, side, side].

    A fully connected layer's have a side of 1, but for the first one, whose inputs
    are the last convolution's channels at each of 4 x 4 positions.
    """
    flat = vectors[:, piece.start : piece.stop].astype(np.float64)
    if len(piece.shape) == 4:
        return flat.reshape(-1, *piece.shape)
    outputs, inputs = piece.shape
    side = math.isqrt(inputs // channels)
    if side * side * channels != inputs:
        raise ValueError(
            f"'{piece.name}' has {inputs} inputs, but the layer before it {channels} "
            "units: pass the layout of a net of the sampled family."
        )
    # Ordered height, width, channel.
    return flat.reshape(-1, outputs, side, side, channels).transpose(0, 1, 4, 2, 3)


def _of_weights(w: NDArray) -> list[NDArray]:
    """Of each unit's weights, [n, units, others, side, side] to [n, units]."""
    n, units, others, *sides = w.shape
    x = w.reshape(n, units, -1)
    glorot = math.sqrt(2 / ((units + others) * math.prod(sides)))  # its deviation
    mean, size = x.mean(-1), _size(w)
    z = x - mean[..., None]
    std = np.sqrt((z * z).mean(-1))
    # Of a constant the deviations are rounding errors, and they depend on the order.
    z /= np.maximum(np.maximum(std, _ROUNDING * size), _LEAST)[..., None]
    squares = z * z
    kernel = w.mean(2)  # [n, units, side, side]
    energy = (w * w).mean((3, 4))  # [n, units, others]
    return [
        _log(size / glorot),
        mean / _positive(size),
        _log(np.where(std > _ROUNDING * size, std, 0) / glorot),
        (squares * z).mean(-1),
        (squares * squares).mean(-1),
        *_percentiles(np.sort(z, axis=-1), _SHARES, -1),
        np.sqrt((kernel * kernel).mean((2, 3))) / _positive(size),
        energy.std(2) / _positive(energy.mean(2)),
    ]


def _of_pixels(w: NDArray) -> list[NDArray]:
    """How rough kernels [n, units, inputs, side, side] are, how large in the core."""
    size, side = _positive(_size(w)), w.shape[-1]
    if side == 1:
        flat = np.zeros_like(size)
        return [flat, flat, flat]
    parts = np.diff(w, axis=3), np.diff(w, axis=4), w[..., 1:-1, 1:-1]
    return [_size(part) / size for part in parts]


def _of_unit(
    vectors: NDArray, pieces: dict[str, Slice], size: NDArray
) -> list[NDArray]:
    """Numbers of bias and batch norm, [n, units], ``size`` being the weights'."""

    def values(kind: str) -> NDArray:
        if kind not in pieces:
            return np.full_like(size, _NEUTRAL[kind])
        piece = pieces[kind]
        return vectors[:, piece.start : piece.stop].astype(np.float64)

    bias, beta, gamma = values("bias"), values("beta"), values("gamma")
    mean, var = values("mean"), np.maximum(values("var"), 0)
    std = np.sqrt(var + _EPS)
    pairs = [(np.arcsinh(x), _log(x)) for x in (bias, beta, gamma - 1, mean)]
    return [
        *(number for pair in pairs for number in pair),
        _log(var),
        np.arcsinh(mean / std),
        np.arcsinh(bias / std),
        _log(gamma / std),
        _log(gamma * size / std),
    ]


def _size(w: NDArray) -> NDArray:
    """Root mean square of all but the first two dimensions."""
    return np.sqrt((w * w).reshape(*w.shape[:2], -1).mean(-1))


def _log(x: NDArray) -> NDArray:
    return np.log10(_positive(np.abs(x)))


def _positive(x: NDArray) -> NDArray:
    return np.maximum(x, _LEAST)


def _percentiles(ordered: NDArray, shares: Sequence[float], axis: int) -> list[NDArray]:
    """Percentiles of what is sorted along an axis, linear in between."""
    last = ordered.shape[axis] - 1
    found = []
    for share in shares:
        low = int(share * last)
        lower = ordered.take(low, axis)
        upper = ordered.take(min(low + 1, last), axis)
        found.append(lower + (share * last - low) * (upper - lower))
    return found


def _layout_of(zoo: Zoo, run: int) -> Layout:
    """A run's architecture."""
    if len(zoo.layouts) == 1:
        return zoo.layout
    (name,) = zoo.runs.loc[zoo.runs["run"] == run, "layout"]
    return zoo.layouts[name]
