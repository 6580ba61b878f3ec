"""Figures of test accuracy regressed on hyper-parameters (chapter 09)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nwslib.plots.sampled import named
from nwslib.plots.style import DARK, GREY, PALETTE, WIDTH, round_ticks

if TYPE_CHECKING:
    from pandas import DataFrame

    from nwslib.regression import Regression

#: Above this p-value a coefficient is marked as open (the paper's asterisk).
LEVEL = 0.05

# As many hyper-parameters side by side as a page's width takes.
_A_ROW = 6


def regression_coefficients(table: DataFrame) -> Figure:
    """Draw one data set's coefficients with 95 % intervals, after Fig. 1 and 14.

    A panel a hyper-parameter that varies. Hollow points with an asterisk have a
    p-value above 5 %.

    Parameters
    ----------
    table : DataFrame
        ``Regression.coefficients``.

    Raises
    ------
    ValueError
        If it holds no coefficient but the constant.
    """
    table = table[table["hyperparameter"] != "constant"]
    groups = {
        name: rows
        for name, rows in table.groupby("hyperparameter", sort=False)
        if rows["coefficient"].notna().any()
    }
    if not groups:
        raise ValueError("the table holds no coefficient: regress runs that vary.")
    names = list(groups)
    rows = [names[i : i + _A_ROW] for i in range(0, len(names), _A_ROW)]
    fig = plt.figure(figsize=(WIDTH, 2.6 * len(rows) + 0.4), layout="constrained")
    heights = [1.2 if "init" in shown else 1 for shown in rows]  # long names
    bands = fig.add_gridspec(len(rows), 1, height_ratios=heights)
    ends = np.array([table["low"].min(), table["high"].max()])
    ends += 0.08 * np.ptp(ends) * np.array([-1, 1])
    for band, shown in zip(bands, rows, strict=True):
        widths = [max(len(groups[name]), 2.8) for name in shown]
        inner = band.subgridspec(1, len(shown), width_ratios=widths)
        axes = inner.subplots(sharey=True, squeeze=False)[0]
        for name, ax in zip(shown, axes, strict=True):
            _coefficients(ax, groups[name])
            title = textwrap.fill(named(name), 9, break_long_words=False)
            ax.set_title(title, loc="center", fontsize=9)
            ax.set_ylim(*ends)
        axes[0].set_ylabel("coefficient")
    handles = [
        Line2D([], [], marker="o", ms=5, color=PALETTE[0], label="p ≤ 5 %"),
        Line2D([], [], marker="o", ms=5, mfc="white", color=GREY, label="* p > 5 %"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    # With so many panels the layout's last digits differ from call to call, and with
    # them the file's bytes.
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    for ax in fig.axes:
        ax.set_position(np.round(ax.get_position().bounds, 4))
    return fig


def _coefficients(ax: plt.Axes, rows: DataFrame) -> None:
    """One hyper-parameter's panel."""
    ax.axhline(0, color=DARK, lw=0.8)
    for x, row in enumerate(rows.itertuples()):
        if np.isnan(row.coefficient):
            ax.text(
                x, 0, row.note, color=DARK, rotation=90, ha="center", va="center",
                bbox={"fc": "white", "ec": "none", "pad": 1},
            )  # fmt: skip
            continue
        sure = row.p_value <= LEVEL
        colour = PALETTE[0] if sure else GREY
        ax.vlines(x, row.low, row.high, color=colour, lw=1.4)
        ax.plot(
            x, row.coefficient, "o", ms=5, color=colour, mfc=colour if sure else "white"
        )
        if not sure:
            ax.annotate(
                "*", (x, row.high), xytext=(0, 1), textcoords="offset points",
                ha="center", color=DARK,
            )  # fmt: skip
    ax.set_xticks(range(len(rows)), [named(c) for c in rows["category"]], rotation=90)
    ax.set_xlim(-0.6, len(rows) - 0.4)
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.yaxis.set_major_locator(round_ticks(5))


def regression_errors(
    regressions: Sequence[Regression], correlations: DataFrame
) -> Figure:
    """Draw the models' errors and how alike their coefficients are, after Fig. 15.

    Left, mean absolute errors in standard deviations of test accuracy. Right,
    correlations of coefficients with 95 % intervals, the most alike data sets first;
    left out for a single data set.

    Parameters
    ----------
    regressions : sequence of Regression
        One a data set.
    correlations : DataFrame
        As from :func:`nwslib.regression.coefficient_correlations`.

    Raises
    ------
    ValueError
        If there are no regressions.
    """
    if not regressions:
        raise ValueError("no regression to draw: pass at least one.")
    count = max(1.2 * len(regressions), len(correlations))
    panels = 1 if correlations.empty else 2
    fig, axes = plt.subplots(
        1, panels, figsize=(WIDTH, 1.2 + 0.28 * count), squeeze=False,
        layout="constrained", width_ratios=(1, 0.8)[:panels],
    )  # fmt: skip
    left = axes[0, 0]
    rows = np.arange(len(regressions))
    bars = {
        "constant": ("cv_constant_error", GREY),
        "linear model, unseen runs": ("cv_error", PALETTE[0]),
        "linear model, fitted runs": ("error", PALETTE[4]),
    }
    for k, (label, (field, colour)) in enumerate(bars.items()):
        values = [getattr(regression, field) for regression in regressions]
        left.barh(rows + (k - 1) * 0.26, values, 0.24, color=colour, label=label)
    left.set_yticks(rows, [named(regression.dataset) for regression in regressions])
    left.invert_yaxis()
    left.grid(False, axis="y")
    left.set_xlabel("mean absolute error")
    if panels == 2:
        right = axes[0, 1]
        pairs = correlations.sort_values("r", ascending=False)
        rows = np.arange(len(pairs))
        right.hlines(rows, pairs["low"], pairs["high"], color=DARK, lw=1.2)
        right.plot(pairs["r"], rows, "o", ms=5, color=PALETTE[1])
        right.axvline(0, color=DARK, lw=0.8)
        names = [
            f"{named(one)}, {named(other)}"
            for one, other in zip(pairs["one"], pairs["other"], strict=True)
        ]
        right.set_yticks(rows, names)
        right.set_xlim(min(-0.05, pairs["low"].min()), 1.02)
        right.invert_yaxis()
        right.set_xlabel("correlation of coefficients")
    fig.legend(loc="outside lower center", ncols=3)
    return fig
