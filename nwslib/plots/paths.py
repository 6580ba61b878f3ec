"""Figures of training as a path (chapter 03)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from nwslib.plots.style import (
    DARK,
    MANY,
    PALETTE,
    check_lengths,
    net_colours,
    panels,
    round_ticks,
    title_of,
)


def step_lengths(steps: Mapping[str, ArrayLike]) -> Figure:
    """Draw the distance from each snapshot to the next (chapter 03).

    Parameters
    ----------
    steps : mapping of str to array_like, shape [nets, epochs]
        For each zoo the lengths of the steps that lead to epochs 1, 2, ..., see
        :class:`nwslib.trajectory.PathGeometry`; nets that are not finite are left
        out.

    Raises
    ------
    ValueError
        If there are no zoos, or one has no step.
    """
    for zoo, lengths in steps.items():
        if np.ndim(lengths) != 2 or np.shape(lengths)[1] < 1:
            raise ValueError(
                f"steps of '{zoo}' have shape {list(np.shape(lengths))}: pass [nets, "
                "epochs] with at least one step."
            )
    fig, axes = panels(steps, by="zoo", height=2.7, sharey=True)
    for (zoo, lengths), ax in zip(steps.items(), axes[0], strict=True):
        lengths = np.asarray(lengths)
        lengths = lengths[np.isfinite(lengths).all(axis=1)]
        epochs = np.arange(1, lengths.shape[1] + 1)
        ax.plot(
            epochs, lengths.T, color=PALETTE[0], lw=0.6,
            alpha=min(1, max(0.1, 6 / max(len(lengths), 1))),
            rasterized=lengths.size > MANY,
        )  # fmt: skip
        if len(lengths):
            ax.plot(epochs, np.median(lengths, axis=0), color=PALETTE[3], lw=2)
        ax.set(title=title_of(zoo), xlabel="epoch that the step leads to", yscale="log")
        ax.xaxis.set_major_locator(round_ticks(integer=True))
    axes[0, 0].set_ylabel("step length")
    fig.legend(
        handles=[
            Line2D([], [], color=PALETTE[0], lw=0.8, label="one net"),
            Line2D([], [], color=PALETTE[3], lw=2, label="median"),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return fig


def trajectories(
    planes: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
) -> Figure:
    """Draw nets as paths in a plane, after Fig. 4 and 5 (chapter 03).

    A colour is a net; there are more nets than colours, so colours come again. A
    line joins consecutive epochs, and points grow and darken along it.

    Parameters
    ----------
    planes : mapping of str to (xy, nets, epochs)
        For each zoo its snapshots' coordinates, shape [n, 2], nets and epochs,
        shape [n] each.

    Raises
    ------
    ValueError
        If there are no zoos, or a zoo's arrays differ in length.
    """
    for zoo, (xy, nets, epochs) in planes.items():
        check_lengths(zoo, points=xy, nets=nets, epochs=epochs)
    fig, axes = panels(planes, by="zoo", height=3.7)
    for (zoo, (xy, nets, epochs)), ax in zip(planes.items(), axes[0], strict=True):
        _draw_paths(ax, np.asarray(xy), np.asarray(nets), np.asarray(epochs))
        ax.set(title=title_of(zoo), xticks=[], yticks=[], box_aspect=1)
        ax.spines[["top", "right"]].set_visible(True)
    marker = {"color": DARK, "marker": "o", "lw": 0.8}
    fig.legend(
        handles=[
            Line2D([], [], **marker, ms=6, mfc="white", mew=1.2, label="first epoch"),
            Line2D([], [], **marker, ms=2.5, label="epochs between"),
            Line2D([], [], **marker, ms=6, label="last epoch"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return fig


def _draw_paths(ax: Axes, xy: NDArray, nets: NDArray, epochs: NDArray) -> None:
    """Paths of all nets of one zoo; ``xy`` is [n, 2]."""
    order = np.lexsort((epochs, nets))
    xy, nets, epochs = xy[order], nets[order], epochs[order]
    names, starts = np.unique(nets, return_index=True)
    ends = np.append(starts[1:], len(nets)) - 1
    by_net = to_rgba_array(net_colours(len(names)))  # [nets, 4]
    by_point = np.repeat(by_net, ends - starts + 1, axis=0)  # [n, 4]
    progress = (epochs - epochs.min()) / max(np.ptp(epochs), 1)
    by_point[:, 3] = 0.35 + 0.65 * progress
    many, crowded = len(xy) > MANY, len(names) > 60
    dot = 7 if crowded else 20
    # First lines, then points, then the two ends, in one order for all nets.
    ax.add_collection(
        LineCollection(
            np.split(xy, starts[1:]), colors=by_net, linewidths=0.4 if crowded else 0.8,
            alpha=0.35 if crowded else 0.55, rasterized=many, zorder=1,
        )
    )  # fmt: skip
    ax.scatter(
        *xy.T, s=dot * (0.15 + 0.5 * progress), c=by_point, lw=0, rasterized=many
    )
    ax.scatter(
        *xy[ends].T, s=1.6 * dot, c=by_net, ec="white", lw=0.4, rasterized=many,
        zorder=3,
    )  # fmt: skip
    ax.scatter(
        *xy[starts].T, s=1.2 * dot, c="white", ec=by_net, lw=0.6 if crowded else 1.2,
        rasterized=many, zorder=4,
    )  # fmt: skip
