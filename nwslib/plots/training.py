"""Figures of how zoos train (chapter 02)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from nwslib.plots.style import (
    DARK,
    MEASURES,
    PALETTE,
    WIDTH,
    check_lengths,
    panels,
    round_ticks,
    title_of,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from nwslib.papers import ClusterRow


def training_curves(histories: Mapping[str, DataFrame]) -> Figure:
    """Draw accuracy and loss over epochs, a column for each zoo (chapter 02).

    Lines are medians over nets, bands reach from the 10th to the 90th percentile.

    Parameters
    ----------
    histories : mapping of str to DataFrame
        Columns ``epoch``, ``split`` (train or test), ``accuracy`` and ``loss``,
        a row for each net, epoch and split.

    Raises
    ------
    ValueError
        If there are no histories, or a column is missing.
    """
    for zoo, history in histories.items():
        missing = {"epoch", "split", "accuracy", "loss"} - set(history.columns)
        if missing:
            raise ValueError(
                f"the history of '{zoo}' has no column '{min(missing)}': pass the "
                "zoo's own history table."
            )
    fig, axes = panels(histories, by="history", height=2, rows=2, sharex="col")
    styles = {"train": (PALETTE[3], "--"), "test": (PALETTE[0], "-")}
    for (zoo, history), column in zip(histories.items(), axes.T, strict=True):
        for measure, ax in zip(("accuracy", "loss"), column, strict=True):
            for split, (colour, dash) in styles.items():
                mine = history[history["split"] == split]
                values = mine[measure].where(np.isfinite(mine[measure]))
                bands = values.groupby(mine["epoch"]).quantile([0.1, 0.5, 0.9])
                low, mid, high = (bands.xs(q, level=1) for q in (0.1, 0.5, 0.9))
                ax.plot(mid.index, mid, dash, color=colour, lw=1.6, label=split)
                ax.fill_between(mid.index, low, high, color=colour, alpha=0.25, lw=0)
            ax.set_ylabel(measure)
        column[0].set(title=title_of(zoo), ylim=(0, 1))
        column[1].set(xlabel="epoch", yscale="log")
        column[1].xaxis.set_major_locator(round_ticks(integer=True))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig


def weight_statistics(
    statistics: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
) -> Figure:
    """Scatter nets by their weights' mean and spread, after Fig. 3 (chapter 02).

    Parameters
    ----------
    statistics : mapping of str to (mean, deviation, accuracy)
        For each zoo three arrays, one entry a net: mean and standard deviation of
        its weights, and its test accuracy, which is shown as colour. Nets with
        values that are not finite are left out.

    Raises
    ------
    ValueError
        If there are no zoos, or a zoo's arrays differ in length.
    """
    for zoo, (mean, deviation, accuracy) in statistics.items():
        check_lengths(zoo, means=mean, deviations=deviation, accuracies=accuracy)
    fig, axes = panels(statistics, by="zoo", height=2.9)
    for (zoo, columns), ax in zip(statistics.items(), axes[0], strict=True):
        values = np.asarray(columns, dtype=float)  # [3, nets]
        mean, deviation, accuracy = values[:, np.isfinite(values).all(axis=0)]
        points = ax.scatter(
            mean, deviation, 22, accuracy, cmap="viridis", ec=DARK, lw=0.3
        )
        ax.set(title=title_of(zoo), xlabel="mean of the weights")
        ax.xaxis.set_major_locator(round_ticks(5))
        fig.colorbar(points, ax=ax, location="bottom", label="test accuracy", aspect=30)
    axes[0, 0].set_ylabel("standard deviation of the weights")
    return fig


def readings(table: DataFrame, paper: ClusterRow) -> Figure:
    """Compare readings of A2's training set-up, a row for each (chapter 02).

    Parameters
    ----------
    table : DataFrame
        A row a reading, columns ``accuracy``, ``purity``, ``ordered_initial`` and
        ``ordered_pairs``; NaN where too few nets stayed finite to measure.
    paper : ClusterRow
        What the paper prints, drawn as a vertical line.

    Raises
    ------
    ValueError
        If the table has no rows or lacks a column.
    """
    columns = {"accuracy": "test accuracy"} | MEASURES
    missing = [column for column in columns if column not in table]
    if missing or table.empty:
        raise ValueError(
            f"the table of readings has {len(table)} rows and lacks {missing}: pass "
            "one row a reading with every measure."
        )
    rows = np.arange(len(table))
    fig, axes = plt.subplots(
        1, 4, figsize=(WIDTH, 1 + 0.34 * len(table)), sharey=True, layout="constrained"
    )
    for (column, label), ax in zip(columns.items(), axes, strict=True):
        values = table[column].to_numpy(dtype=float)
        printed = getattr(paper, column, None)  # the paper prints no accuracies
        if printed is not None:
            ax.axvline(printed, color=PALETTE[1], lw=1.4, zorder=1)
        ax.scatter(values, rows, 26, color=PALETTE[0], zorder=2)
        for row in rows[np.isnan(values)]:
            ax.text(0, row, " none", color=DARK, va="center", style="italic")
        top = np.nanmax([*values, printed or 0, 1])
        ax.set_xlim(-0.05 * top, 1.08 * top)
        ax.xaxis.set_major_locator(round_ticks(3))
        ax.set_title(textwrap.fill(label, 14), fontsize=9)
    names = [textwrap.fill(str(name), 25) for name in table.index]
    axes[0].set_yticks(rows, names)
    axes[0].set_ylim(len(table) - 0.5, -0.5)
    fig.legend(
        handles=[
            Line2D([], [], marker="o", ms=5, lw=0, color=PALETTE[0], label="this run"),
            Line2D([], [], color=PALETTE[1], lw=1.4, label="paper, full weight space"),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return fig
