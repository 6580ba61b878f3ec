"""Figures of changed data and of detectors that notice it (chapter 06)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from nwslib.plots.style import (
    DARK,
    GREY,
    PALETTE,
    WIDTH,
    net_colours,
    panels,
    round_ticks,
    title_of,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from nwslib.progress import Estimate


def changed_images(examples: Mapping[str, ArrayLike]) -> Figure:
    """Show what becomes of a few images, a column for each change (chapter 06).

    Parameters
    ----------
    examples : mapping of str to array_like, shapes [images, height, width]
        Grey values from 0 to 255; equally many of each.

    Raises
    ------
    ValueError
        If there are none, or their numbers differ.
    """
    shapes = {name: np.shape(images) for name, images in examples.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(
            f"examples of shapes {shapes}: pass equally many images of one size for "
            "each change, at least one change."
        )
    rows = len(next(iter(examples.values())))
    height = WIDTH / len(examples) * rows + 0.45
    fig, axes = plt.subplots(
        rows, len(examples), figsize=(WIDTH, height), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for (name, images), column in zip(examples.items(), axes.T, strict=True):
        for image, ax in zip(images, column, strict=True):
            ax.imshow(image, cmap="gray", vmin=0, vmax=255)
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
        column[0].set_title(name, fontsize=9, loc="center")
    return fig


def movement_around_change(
    series: Mapping[str, Mapping[str, Mapping[str, ArrayLike]]], before: int
) -> Figure:
    """Draw what is measured of each step, before and after a change (chapter 06).

    A column for each zoo, a row for each quantity; lines are medians over nets, bands
    reach from the 10th to the 90th percentile.

    Parameters
    ----------
    series : mapping zoo -> quantity -> condition -> array_like [models, steps]
        Quantities are drawn on a logarithmic axis where their name begins with
        "step".
    before : int
        Steps before the change.
    """
    fig, axes = panels(
        series, by="zoo", height=1.6, rows=len(next(iter(series.values()), ())),
        sharex=True,
    )  # fmt: skip
    for place, (zoo, quantities) in enumerate(series.items()):
        column = axes[:, place]
        for (quantity, conditions), ax in zip(quantities.items(), column, strict=True):
            colours = [DARK, *net_colours(len(conditions) - 1)]
            for (name, values), colour in zip(conditions.items(), colours, strict=True):
                values = np.asarray(values)
                checkpoint = np.arange(values.shape[1]) - before + 1
                low, mid, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
                ax.plot(checkpoint, mid, color=colour, lw=1.6, label=name)
                ax.fill_between(checkpoint, low, high, color=colour, alpha=0.2, lw=0)
            ax.axvline(0.5, color=GREY, lw=1, ls=":")
            if quantity.startswith("step"):
                ax.set_yscale("log")
            if not place:
                ax.set_ylabel(quantity)
        column[0].set_title(title_of(zoo))
        column[-1].set_xlabel("checkpoint after the change")
        column[-1].xaxis.set_major_locator(round_ticks(integer=True))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def auc_map(tables: Mapping[str, DataFrame], controls: Sequence[str]) -> Figure:
    """Write areas under ROC curves on their colour, a panel a zoo (chapter 06).

    Parameters
    ----------
    tables : mapping of str to DataFrame
        A row a condition, a column a detector; from 0 to 1.
    controls : sequence of str
        Rows that a detector should not notice: they stand below a line.

    Raises
    ------
    ValueError
        If there are no tables, or their rows differ.
    """
    rows = {zoo: list(table.index) for zoo, table in tables.items()}
    names = next(iter(rows.values()), [])
    if any(others != names for others in rows.values()):
        raise ValueError(f"tables have rows {rows}: pass the same conditions for each.")
    fig, axes = panels(tables, by="table", height=0.27 * len(names) + 1, sharey=True)
    for (zoo, table), ax in zip(tables.items(), axes[0], strict=True):
        values = table.to_numpy(dtype=float)
        # diverging: chance is white, and below it is as telling as above
        drawn = ax.imshow(values, cmap="PuOr_r", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            dark = abs(value - 0.5) > 0.3
            ax.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=9,
                color="white" if dark else DARK,
            )  # fmt: skip
        ax.set_xticks(range(values.shape[1]), table.columns, rotation=40, ha="right")
        ax.set_yticks(range(len(names)), names)
        split = len(names) - sum(name in controls for name in names)
        ax.axhline(split - 0.5, color=DARK, lw=1.5)
        ax.set_title(title_of(zoo))
        ax.tick_params(length=0)
        ax.grid(False)
    fig.colorbar(drawn, ax=axes[0], label="area under the ROC curve", aspect=40)
    return fig


def roc_curves(
    curves: Mapping[str, Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]]],
    controls: Sequence[str],
) -> Figure:
    """Draw ROC curves, a row for each zoo and a column for each detector (chapter 06).

    Parameters
    ----------
    curves : mapping zoo -> detector -> condition -> (false alarms, alarms)
        Rates from 0 to 1, rising.
    controls : sequence of str
        Conditions that a detector should not notice: drawn dashed.
    """
    detectors = len(next(iter(curves.values()), ()))
    fig, axes = panels(
        curves, by="zoo", height=2.0, columns=detectors or 1, sharex=True, sharey=True
    )
    keys = {}
    for place, (zoo, row) in enumerate(curves.items()):
        for (detector, conditions), ax in zip(row.items(), axes[place], strict=True):
            # black, brown, grey dashes for controls, the palette for changes
            colours = iter(PALETTE)
            dashes = iter((DARK, "#A0522D", GREY, "#6B8E23"))
            ax.plot([0, 1], [0, 1], color=GREY, lw=0.8)
            for name, (false, true) in conditions.items():
                if name in controls:
                    look = {"color": next(dashes), "ls": (0, (4, 2)), "lw": 1.6}
                else:
                    look = {"color": next(colours), "lw": 1.4}
                (keys[name],) = ax.step(false, true, where="post", label=name, **look)
            if not place:
                ax.set_title(detector)
            ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
            ax.set_xticks([0, 0.5, 1])
            ax.set_yticks([0, 0.5, 1])
        axes[place, 0].set_ylabel(f"{zoo}: alarms")
    for ax in axes[-1]:
        ax.set_xlabel("false alarms")
    fig.legend(handles=list(keys.values()), loc="outside lower center", ncols=4)
    return fig


def dose_response(
    areas: Mapping[str, Mapping[str, Mapping[str, Mapping[float, Estimate]]]],
) -> Figure:
    """Draw how detection grows with the share of changed images (chapter 06).

    A column for each zoo, a row for each change; bands are 95 % intervals.

    Parameters
    ----------
    areas : mapping zoo -> change -> detector -> share -> Estimate
        Shares from 0 to 1; areas under ROC curves.
    """
    fig, axes = panels(
        areas, by="zoo", height=1.3, rows=len(next(iter(areas.values()), ())) or 1,
        sharex=True, sharey=True,
    )  # fmt: skip
    keys = {}
    for place, (zoo, changes) in enumerate(areas.items()):
        column = axes[:, place]
        for (change, detectors), ax in zip(changes.items(), column, strict=True):
            ax.axhline(0.5, color=GREY, lw=0.8)
            for (detector, doses), colour in zip(
                detectors.items(), net_colours(len(detectors)), strict=True
            ):
                shares = list(doses)
                value, low, high = (
                    [getattr(area, part) for area in doses.values()]
                    for part in ("value", "low", "high")
                )
                ax.fill_between(shares, low, high, color=colour, alpha=0.18, lw=0)
                ax.plot(shares, value, "o-", color=colour, ms=3.5, lw=1.4)
                keys[detector] = Line2D([], [], color=colour, lw=1.6, label=detector)
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            ax.tick_params(which="minor", length=0)
            ax.set_ylim(0.25, 1.05)
            if not place:
                ax.set_ylabel(f"{change}\nAUC")
        column[0].set_title(title_of(zoo))
        column[-1].set_xlabel("share of changed images")
    fig.legend(handles=list(keys.values()), loc="outside lower center", ncols=4)
    return fig
