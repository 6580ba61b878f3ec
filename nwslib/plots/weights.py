"""Figures of weight vectors and their distances (chapter 01)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from nwslib.flatten import Layout
from nwslib.plots.style import DARK, PALETTE, WIDTH, panels


def layout_strip(layouts: Mapping[str, Layout]) -> Figure:
    """Draw weight vectors as strips, a block for each named tensor (chapter 01).

    Parameters
    ----------
    layouts : mapping of str to Layout
        One strip each, to one scale.

    Raises
    ------
    ValueError
        If there are none.
    """
    fig, axes = panels(layouts, by="layout", height=1.2, columns=1, sharex=True)
    longest = max(layout.size for layout in layouts.values())
    for (name, layout), ax in zip(layouts.items(), axes[:, 0], strict=True):
        free = longest  # callouts are set from the right end, side by side
        for piece in reversed(layout.slices):
            colour = PALETTE[layout.layers.index(piece.layer) % len(PALETTE)]
            ax.barh(0, piece.size, 1, piece.start, color=colour, ec="white", lw=1)
            text = f"{piece.name}\n{piece.size:,}"
            middle = piece.start + piece.size / 2
            width = 0.0125 * longest * len(piece.name)  # at 9 points, about
            if width < piece.size:
                ax.text(middle, 0, text, color=_ink(colour), ha="center", va="center")
                continue
            centre = min(max(middle, width / 2), free - width / 2)
            free = centre - width / 2
            ax.annotate(
                text, (middle, 0.5), (centre, 0.8), ha="center", va="bottom",
                arrowprops={"arrowstyle": "-", "color": colour, "relpos": (0.5, 0)},
            )  # fmt: skip
        ax.set(
            title=f"{name}: {layout.size:,} weights",
            xlim=(0, longest),
            ylim=(-0.5, 1.5),
            yticks=[],
        )
        ax.spines["left"].set_visible(False)
        ax.grid(False)
    axes[-1, 0].set_xlabel("index in the weight vector")
    return fig


def weight_images(
    layout: Layout,
    vector: ArrayLike,
    name: str,
    image: tuple[int, int],
    columns: int = 8,
) -> Figure:
    """Show one tensor's part of a weight vector as small images (chapter 01).

    Parameters
    ----------
    layout : Layout
    vector : array_like, shape [layout.size]
    name : str
        Tensor to show, for example ``"fc1.weight"``.
    image : (int, int)
        Height and width that the tensor's weights are cut into, in order: (14, 14)
        gives one image for each hidden unit of A1, (3, 3) each kernel of a
        convolution.
    columns : int
        Images in a row.

    Raises
    ------
    ValueError
        If the layout has no such tensor, the vector has another length, or the
        tensor does not divide into such images.
    """
    vector, pieces = np.asarray(vector), {piece.name: piece for piece in layout}
    if name not in pieces:
        raise ValueError(
            f"no tensor '{name}' in this layout: choose one of {list(pieces)}."
        )
    if vector.shape != (layout.size,):
        raise ValueError(
            f"vector of shape {list(vector.shape)} does not fit this layout: pass "
            f"one of {layout.size} weights."
        )
    piece = pieces[name]
    if piece.size % math.prod(image):
        raise ValueError(
            f"the {piece.size} weights of '{name}' do not divide into images of "
            f"{image[0]} x {image[1]}: choose a height and width that do."
        )
    images = vector[piece.start : piece.stop].reshape(-1, *image)  # [units, h, w]
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    side = (WIDTH - 1) / columns
    size = (WIDTH, rows * (side * image[0] / image[1] + 0.25) + 0.3)
    fig, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="compressed"
    )
    limit = np.nanmax(np.abs(images), initial=0) or 1
    for ax in axes.flat:
        ax.set_axis_off()
    for k, (unit, ax) in enumerate(zip(images, axes.flat, strict=False)):
        shown = ax.imshow(
            unit, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
        )
        ax.set_title(str(k), loc="center", fontsize=9, pad=3)
    fig.colorbar(shown, ax=axes, label=name, fraction=0.03, aspect=12 * rows)
    return fig


def distance_histograms(distances: Mapping[str, ArrayLike]) -> Figure:
    """Compare several sets of distances on one axis (chapter 01).

    Each row has its own vertical scale: it shows where its distances lie, not
    how many there are.

    Parameters
    ----------
    distances : mapping of str to array_like
        One row each, by label; values that are not finite are left out.

    Raises
    ------
    ValueError
        If there are no rows, or one has no finite distance.
    """
    finite = {}
    for label, values in distances.items():
        values = np.ravel(values)
        finite[label] = values[np.isfinite(values)]
        if not finite[label].size:
            raise ValueError(f"'{label}' has no finite distances: leave it out.")
    fig, axes = panels(finite, by="distances", height=0.8, columns=1, sharex=True)
    bins = np.linspace(0, 1.02 * max(v.max() for v in finite.values()) or 1, 90)
    rows = zip(finite.items(), axes[:, 0], strict=True)
    for k, ((label, values), ax) in enumerate(rows):
        colour = PALETTE[k % len(PALETTE)]
        ax.hist(values, bins, histtype="stepfilled", color=colour, alpha=0.8)
        ax.axvline(np.median(values), color=DARK, lw=1.2)
        ax.set(yticks=[], xlim=(bins[0], bins[-1]))
        ax.set_title(label, fontsize=9)
        ax.set_title(f"median {np.median(values):.3g}", loc="right", fontsize=9)
        ax.spines["left"].set_visible(False)
    axes[-1, 0].set_xlabel("Euclidean distance in weight space (line: median)")
    return fig


def _ink(colour: str) -> str:
    """Black or white, whichever reads better on a colour."""
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
