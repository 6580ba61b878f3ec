"""Figures of meta-classifiers (chapters 11 and 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from nwslib.plots.sampled import named
from nwslib.plots.style import DARK, GREY, PALETTE, WIDTH, round_ticks

if TYPE_CHECKING:
    from pandas import DataFrame

#: Kinds of weights as figures write them; "mult" in the paper is ``weight``.
_KINDS = {
    "weight": "weights", "bias": "bias", "beta": "beta", "gamma": "gamma",
    "mean": "running mean", "var": "running variance",
}  # fmt: skip
_STATISTICS = {"var": "variance", "skew": "skewness"}


def meta_accuracies(table: DataFrame) -> Figure:
    """Draw how often meta-classifiers are right, after Fig. 2 and 4.

    A band a hyper-parameter, in it a point a meta-classifier, with the standard
    deviation over rounds; a vertical line is chance.

    Parameters
    ----------
    table : DataFrame
        Columns ``hyperparameter``, ``model``, ``mean``, ``std`` and ``chance``; bands
        and colours in order of first appearance.

    Raises
    ------
    ValueError
        If the table is empty.
    """
    check_accuracies(table)
    models = list(dict.fromkeys(table["model"]))
    bands = list(dict.fromkeys(table["hyperparameter"]))
    height = 0.13 * len(models) + 0.22
    fig, ax = plt.subplots(
        figsize=(WIDTH, height * len(bands) + 0.9 + 0.2 * -(-len(models) // 4)),
        layout="constrained",
    )
    step = 0.8 / len(models)
    for row in table.itertuples():
        band, k = bands.index(row.hyperparameter), models.index(row.model)
        y = band - 0.4 + (k + 0.5) * step
        colour = PALETTE[k % len(PALETTE)]
        ax.hlines(y, row.mean - row.std, row.mean + row.std, color=colour, lw=1.6)
        ax.plot(row.mean, y, "o", ms=5, color=colour, mec="white", mew=0.5)
    for band, (_, rows) in enumerate(table.groupby("hyperparameter", sort=False)):
        ax.vlines(rows["chance"].iloc[0], band - 0.45, band + 0.45, color=DARK, lw=1.6)
        if band:
            ax.axhline(band - 0.5, color="#E4E4E4", lw=0.6)
    ax.set_yticks(range(len(bands)), [named(band) for band in bands])
    ax.set_ylim(len(bands) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.set_xlim(0, 1.01)
    ax.set_xlabel("test accuracy, mean and standard deviation over rounds")
    handles = [
        Line2D([], [], marker="o", ms=5, lw=1.6, color=PALETTE[k % len(PALETTE)])
        for k in range(len(models))
    ]
    fig.legend(
        [*handles, Line2D([], [], color=DARK, lw=1.6)], [*models, "chance"],
        loc="outside lower center", ncols=4,
    )  # fmt: skip
    return fig


def feature_importance(
    importances: Mapping[str, ArrayLike], names: Sequence[str]
) -> Figure:
    """Draw how much each layer-wise feature counts, after Fig. 3 and 16.

    A panel a hyper-parameter. Features stand layer after layer and kind by kind, as
    in the weight vector: a thin line each. A bar is the mean of a kind in a layer,
    with the standard deviation over rounds.

    Parameters
    ----------
    importances : mapping of str to array_like, shapes [rounds, k]
        By hyper-parameter.
    names : sequence of str, length k
        As :func:`nwslib.features.layerwise_names` gives them.

    Raises
    ------
    ValueError
        If there is nothing to draw, or not a name a feature.
    """
    arrays = _by_feature(importances, names)
    groups = [tuple(name.split(".")[:2]) for name in names]  # (layer, kind)
    fig, axes = plt.subplots(
        len(arrays), 1, figsize=(WIDTH, 1.5 * len(arrays) + 0.8), squeeze=False,
        sharex=True, layout="constrained",
    )  # fmt: skip
    layers = list(dict.fromkeys(layer for layer, _ in groups))
    spans = {
        group: [k for k, other in enumerate(groups) if other == group]
        for group in dict.fromkeys(groups)
    }
    kinds = list(dict.fromkeys(kind for _, kind in groups))
    for (hyperparameter, values), ax in zip(arrays.items(), axes[:, 0], strict=True):
        mean = values.mean(axis=0)
        for (_, kind), places in spans.items():
            colour = PALETTE[kinds.index(kind) % len(PALETTE)]
            ax.vlines(places, 0, mean[places], color=colour, lw=0.7, alpha=0.7)
            of_rounds = values[:, places].mean(axis=1)
            middle, height = np.mean(places), of_rounds.mean()
            ax.hlines(height, places[0], places[-1], color=colour, lw=2.4)
            if len(of_rounds) > 1:
                spread = of_rounds.std(ddof=1)
                ax.vlines(middle, height - spread, height + spread, color=DARK, lw=1)
        starts = [
            min(k for k, (other, _) in enumerate(groups) if other == layer)
            for layer in layers
        ]
        for start in starts[1:]:
            ax.axvline(start - 0.5, color=DARK, lw=0.8)
        ax.set_title(named(hyperparameter))
        ax.set_ylabel("importance")
        ax.set_xlim(-1, len(names))
        ax.set_ylim(bottom=0)
        ax.grid(False, axis="x")
        ax.yaxis.set_major_locator(round_ticks(4))
    ends = [*starts[1:], len(names)]
    middles = [(a + b) / 2 for a, b in zip(starts, ends, strict=True)]
    axes[-1, 0].set_xticks(middles, layers)
    axes[-1, 0].tick_params(axis="x", length=0)
    handles = [
        Line2D([], [], lw=2.4, color=PALETTE[k % len(PALETTE)])
        for k in range(len(kinds))
    ]
    labels = [_KINDS.get(kind, kind) for kind in kinds]
    fig.legend(handles, labels, loc="outside lower center", ncols=6)
    return fig


def statistic_importance(
    importances: Mapping[str, ArrayLike], names: Sequence[str]
) -> Figure:
    """Draw how much each statistic of a slice counts, after Fig. 17.

    Parameters
    ----------
    importances : mapping of str to array_like, shapes [rounds, k]
        By hyper-parameter.
    names : sequence of str, length k
        Statistics of the weights, and with ``grad.`` before it of their gradient.

    Raises
    ------
    ValueError
        If there is nothing to draw, or not a name a feature.
    """
    arrays = _by_feature(importances, names)
    fig, axes = _grid(len(arrays), 4, 0.17 * len(names) + 0.5, sharey=True)
    places = np.arange(len(names))
    colours = [PALETTE[1] if name.startswith("grad.") else PALETTE[0] for name in names]
    for (hyperparameter, values), ax in zip(arrays.items(), axes, strict=True):
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
        ax.barh(
            places, values.mean(axis=0), 0.75, color=colours, xerr=spread,
            error_kw={"elinewidth": 0.8, "ecolor": DARK},
        )  # fmt: skip
        ax.set_title(named(hyperparameter))
        ax.set_xlim(left=0)
        ax.grid(False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(round_ticks(3))
    axes[0].set_yticks(places, [_statistic(name) for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    fig.supxlabel("importance", fontsize=9)
    return fig


def reliability(tables: Mapping[str, DataFrame]) -> Figure:
    """Draw how often predictions are right by how sure they are, a panel each.

    Points grow with the number of predictions.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        By hyper-parameter, as from :func:`nwslib.meta.calibration.reliability`.

    Raises
    ------
    ValueError
        If there are no tables.
    """
    if not tables:
        raise ValueError("no reliability to draw: pass one table at least.")
    fig, axes = _grid(len(tables), 3, 2.3, sharex=True, sharey=True)
    for (hyperparameter, table), ax in zip(tables.items(), axes, strict=True):
        table = table[table["count"] > 0]
        ax.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1)
        ax.plot(table["confidence"], table["accuracy"], color=PALETTE[0], lw=1)
        ax.scatter(
            table["confidence"], table["accuracy"],
            s=12 + 150 * table["count"] / table["count"].sum(), color=PALETTE[0],
            ec="white", lw=0.6, zorder=3,
        )  # fmt: skip
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), box_aspect=1)
        ax.set_title(named(hyperparameter))
    fig.supxlabel("confidence", fontsize=9)
    fig.supylabel("share of right predictions", fontsize=9)
    return fig


def confusions(tables: Mapping[str, DataFrame]) -> Figure:
    """Draw what meta-classifiers take for what, a panel a hyper-parameter.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Share of predictions (columns) for each true class (rows), from 0 to 1.

    Raises
    ------
    ValueError
        If there are no tables.
    """
    if not tables:
        raise ValueError("no confusions to draw: pass one table at least.")
    fig, axes = _grid(len(tables), 3, 2.7)
    for (hyperparameter, table), ax in zip(tables.items(), axes, strict=True):
        values = table.to_numpy(dtype=float)
        ax.imshow(values, cmap="Purples", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(values):
            ax.text(
                column, row, f"{100 * value:.0f}", ha="center", va="center",
                color="white" if value > 0.6 else DARK,
            )  # fmt: skip
        ax.set_xticks(
            range(len(table.columns)), [named(c) for c in table.columns], rotation=90
        )
        ax.set_yticks(range(len(table)), [named(c) for c in table.index])
        ax.set_title(named(hyperparameter))
        ax.tick_params(length=0)
        ax.grid(False)
    fig.supxlabel("predicted", fontsize=9)
    fig.supylabel("true", fontsize=9)
    return fig


def check_accuracies(table: DataFrame) -> None:
    """ValueError if a table of accuracies is empty."""
    if not len(table):
        raise ValueError("no accuracies to draw: judge one meta-classifier at least.")


def _grid(
    count: int, columns: int, height: float, **share: bool
) -> tuple[Figure, list[Axes]]:
    """Panels in rows of so many at most, each row so many inches high."""
    columns = min(columns, count)
    rows = -(-count // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, rows * height + 0.4), squeeze=False,
        layout="constrained", **share,
    )  # fmt: skip
    for ax in axes.flat[count:]:
        ax.remove()
    return fig, list(axes.flat[:count])


def _by_feature(
    importances: Mapping[str, ArrayLike], names: Sequence[str]
) -> dict[str, NDArray]:
    """Arrays [rounds, k]; ValueError unless there are any, with a name a feature."""
    if not importances:
        raise ValueError("no importance to draw: pass one hyper-parameter's at least.")
    arrays = {key: np.atleast_2d(values) for key, values in importances.items()}
    for key, values in arrays.items():
        if values.shape[1] != len(names):
            raise ValueError(
                f"'{key}' has {values.shape[1]} features and there are {len(names)} "
                "names: pass one for each."
            )
    return arrays


def _statistic(name: str) -> str:
    """A statistic as figures write it."""
    plain = name.removeprefix("grad.")
    words = _STATISTICS.get(plain, plain)
    return f"{words} of gradient" if plain != name else words
