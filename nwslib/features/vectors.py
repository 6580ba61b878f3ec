"""Features of nets that are given as vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.features.groups import groups
from nwslib.features.statistics import NAMES, features
from nwslib.flatten import Layout

#: Readings of the gradient.
GRADIENTS = ("group", "across")


def whole(
    vectors: NDArray, gradient: str = "across", layout: Layout | None = None
) -> NDArray:
    """Features of all weights at once.

    Parameters
    ----------
    vectors : ndarray, shape [n, d]
        Nets, one a row.
    gradient : {"across", "group"}
        Reading of the gradient.
    layout : Layout, optional
        Where tensors end; only ``group`` needs it.

    Returns
    -------
    ndarray of float64, shape [n, 16]
        :data:`.STATISTICS` of the weights, then of their gradient.

    Raises
    ------
    ValueError
        If the reading is unknown, needs a layout, or the layout does not fit.
    """
    _check_gradient(gradient)
    vectors = _rows(vectors, layout)
    if gradient == "across":
        return features(vectors)
    if layout is None:
        raise ValueError(
            "the gradient within groups needs to know them: pass the layout."
        )
    borders = [piece.stop - 1 for piece in layout]
    return features(vectors, kept=np.delete(np.arange(layout.size), borders))


def layerwise(vectors: NDArray, layout: Layout, gradient: str = "group") -> NDArray:
    """Features of each kind of weights of each of five layers.

    The layers are the first and second convolution, the last one, the first fully
    connected layer and the last hidden one. In the fixed architecture these are all
    but the output layer, as in the paper's Figure 16; so nets of every architecture
    have the same 480 features.

    Parameters
    ----------
    vectors : ndarray, shape [n, d]
        Nets of one layout, one a row.
    layout : Layout
        Of a net of the sampled family (:mod:`nwslib.nws.architecture`).
    gradient : {"group", "across"}
        Reading of the gradient.

    Returns
    -------
    ndarray of float64, shape [n, 480]
        In the order of :func:`~nwslib.features.layerwise_names`.

    Raises
    ------
    ValueError
        If the reading is unknown, or the layout does not fit or lacks a group.
    """
    _check_gradient(gradient)
    places = groups(layout)
    vectors = _rows(vectors, layout)
    reach = 1 if gradient == "across" else 0
    # One column more, where there is one, gives one difference more.
    return np.concatenate(
        [
            features(vectors[:, piece.start : piece.stop + reach], piece.size)
            for piece in places.values()
        ],
        axis=1,
    )


def slices(vectors: NDArray, starts: ArrayLike, size: int) -> NDArray:
    """Features of parts of the vectors, whatever they are parts of.

    Parameters
    ----------
    vectors : ndarray, shape [n, d]
        Nets, one a row.
    starts : array_like of int, shape [n, s]
        Where each net's slices begin.
    size : int
        Weights in a slice.

    Returns
    -------
    ndarray of float64, shape [n, s, 16]
        All differences within a slice count.

    Raises
    ------
    ValueError
        If starts are no whole numbers, a row a net, or a slice does not lie inside
        its vector.
    """
    vectors, starts = _rows(vectors), np.asarray(starts)
    if starts.ndim != 2 or len(starts) != len(vectors) or starts.dtype.kind not in "iu":
        raise ValueError(
            f"starts are {starts.dtype} of shape {list(starts.shape)}: give whole "
            f"numbers, a row for each of the {len(vectors)} vectors."
        )
    if size < 1:
        raise ValueError(f"size is {size}: a slice needs at least one weight.")
    if starts.size and (starts.min() < 0 or starts.max() + size > vectors.shape[1]):
        raise ValueError(
            f"a slice of {size} weights from {starts.min()} or {starts.max()} on does "
            f"not lie inside a vector of {vectors.shape[1]}: choose other starts."
        )
    found = np.empty((*starts.shape, len(NAMES)))
    for row, (vector, begin) in enumerate(zip(vectors, starts, strict=True)):
        found[row] = features(vector[begin[:, None] + np.arange(size)])
    return found


def _rows(vectors: NDArray, layout: Layout | None = None) -> NDArray:
    """Check that vectors are rows, of the layout's length if there is one."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(
            f"vectors are {vectors.dtype} of shape {list(vectors.shape)}: give real "
            "numbers of shape [n, d], a net a row."
        )
    if layout is not None and vectors.shape[1] != layout.size:
        raise ValueError(
            f"vectors of {vectors.shape[1]} weights do not fit the layout, which has "
            f"{layout.size}: pass the layout of these nets."
        )
    return vectors


def _check_gradient(gradient: str) -> None:
    if gradient not in GRADIENTS:
        raise ValueError(
            f"unknown gradient '{gradient}': choose one of {list(GRADIENTS)}."
        )
