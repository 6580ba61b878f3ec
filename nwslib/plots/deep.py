"""Figures of deep meta-classifiers (chapters 13 to 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter
from numpy.typing import ArrayLike

from nwslib.plots.meta import check_accuracies
from nwslib.plots.sampled import named
from nwslib.plots.style import DARK, PALETTE, WIDTH, panels, round_ticks

if TYPE_CHECKING:
    from pandas import DataFrame

#: Where slices are taken, as figures write it.
PART_TITLES = {"all": "all weights", "conv": "convolutions", "fc": "fully connected"}


def performance_maps(
    maps: Mapping[str, Mapping[str, ArrayLike]], chance: Mapping[str, float]
) -> Figure:
    """Draw accuracy by place and progress, after Fig. 5, 20 and 21.

    A row a hyper-parameter, a panel a part of the nets. Progress goes down, from
    initial weights at the top, as in the paper. Colours of a panel reach from
    its least to its greatest accuracy, which are written above it.

    Parameters
    ----------
    maps : mapping of str to mapping of str to array_like, [progress, places]
        By hyper-parameter, then by part; a part may be missing.
    chance : mapping of str to float
        Accuracy of guessing, by hyper-parameter.

    Raises
    ------
    ValueError
        If there are no maps.
    """
    parts = list(dict.fromkeys(part for of_one in maps.values() for part in of_one))
    height = 1.5 if len(maps) > 1 else 1.9  # a single row has all labels beside it
    fig, axes = panels(maps, by="map", height=height, columns=max(len(parts), 1))
    for row, (one, of_one) in zip(axes, maps.items(), strict=True):
        for ax, part in zip(row, parts, strict=True):
            if part not in of_one:
                ax.set_axis_off()
                continue
            values = np.asarray(of_one[part], dtype=float)
            ax.imshow(
                values, cmap="viridis", aspect="auto", interpolation="nearest",
                extent=(0, 100, 100, 0),
            )  # fmt: skip
            ax.set_title(f"{values.min():.2f} to {values.max():.2f}", fontsize=9)
            ax.grid(False)
            ax.set_xticks([0, 50, 100])
            ax.set_yticks([0, 50, 100], [] if ax is not row[0] else None)
        row[0].set_ylabel(f"{named(one)}\n(chance {chance[one]:.2f})")
    for ax, part in zip(axes[0], parts, strict=True):
        title = PART_TITLES.get(part, part)
        ax.annotate(
            title, (0.5, 1), (0, 22), "axes fraction", textcoords="offset points",
            ha="center", fontsize=10,
        )  # fmt: skip
    fig.supxlabel("place in the weight vector, %", fontsize=9)
    fig.supylabel("progress of training, %", fontsize=9)
    return fig


def accuracy_curves(
    table: DataFrame, x: str, label: str, *, columns: int = 3
) -> Figure:
    """Draw accuracy by slice size or by number of nets, a panel a hyper-parameter.

    Parameters
    ----------
    table : DataFrame
        Columns ``hyperparameter``, ``model``, ``mean``, ``std``, ``chance`` and the
        one that ``x`` names, which has an axis of powers.
    x : str
    label : str
        Words for it.
    columns : int
        Panels side by side at most.

    Raises
    ------
    ValueError
        If the table is empty.
    """
    check_accuracies(table)
    names = list(dict.fromkeys(table["hyperparameter"]))
    models = list(dict.fromkeys(table["model"]))
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, 2.3 * rows + 0.7), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax in axes.flat[len(names) :]:
        ax.remove()
    for ax, one in zip(axes.flat, names, strict=False):
        of_one = table[table["hyperparameter"] == one]
        for model, rows_of in of_one.groupby("model", sort=False):
            ax.errorbar(
                rows_of[x], rows_of["mean"], rows_of["std"].fillna(0),
                color=PALETTE[models.index(model) % len(PALETTE)], marker="o", ms=4,
                lw=1.3, elinewidth=1, label=model,
            )  # fmt: skip
        ax.axhline(of_one["chance"].iloc[0], color=DARK, lw=1, ls="--")
        ax.set_xscale("log")
        ax.set_xticks(ticks := sorted(set(of_one[x])), [f"{t:,}" for t in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.tick_params(axis="x", labelrotation=45)
        ax.yaxis.set_major_locator(round_ticks(4))
        ax.set_title(named(one))
    if len(models) > 1:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=4)
    fig.supxlabel(label, fontsize=9)
    fig.supylabel("test accuracy", fontsize=9)
    return fig


def grouped_accuracies(
    table: DataFrame, chance: Mapping[str, float], kinds: Sequence[str]
) -> Figure:
    """Draw bars side by side for each hyper-parameter, after Fig. 19.

    Parameters
    ----------
    table : DataFrame
        Columns ``hyperparameter``, ``kind``, ``mean`` and ``std``.
    chance : mapping of str to float
        By hyper-parameter.
    kinds : sequence of str
        Order of the bars; two neighbours share a colour, the second is hatched.

    Raises
    ------
    ValueError
        If the table is empty.
    """
    check_accuracies(table)
    names = list(dict.fromkeys(table["hyperparameter"]))
    fig, ax = plt.subplots(figsize=(WIDTH, 2.9), layout="constrained")
    width = 0.8 / len(kinds)
    indexed = table.set_index(["hyperparameter", "kind"])
    for k, kind in enumerate(kinds):
        rows = indexed.reindex([(one, kind) for one in names])
        places = np.arange(len(names)) - 0.4 + (k + 0.5) * width
        ax.bar(
            places, rows["mean"], 0.9 * width, yerr=rows["std"].fillna(0), label=kind,
            color=PALETTE[k // 2], alpha=0.55 if k % 2 else 1, hatch="///" * (k % 2),
            ec="white", error_kw={"elinewidth": 0.9, "ecolor": DARK},
        )  # fmt: skip
    for place, one in enumerate(names):
        ax.hlines(chance[one], place - 0.45, place + 0.45, color=DARK, ls="--", lw=1)
    ax.set_xticks(range(len(names)), [named(one) for one in names])
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel("test accuracy")
    fig.legend(loc="outside lower center", ncols=len(kinds))
    return fig
