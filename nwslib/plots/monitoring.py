"""Figures of what a path's shape tells about training (chapter 05)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from nwslib.plots.style import (
    DARK,
    GREY,
    MANY,
    PALETTE,
    check_lengths,
    net_colours,
    panels,
    round_ticks,
    title_of,
)
from nwslib.progress import Estimate

if TYPE_CHECKING:
    from pandas import DataFrame

#: Quantities by name: (label on an axis, factor that the axis shows them by).
LABELS = {
    "accuracy": ("test accuracy", 1),
    "step": ("step length", 1),
    "turning": ("turning angle, °", 180 / np.pi),
    "curvature": ("curvature", 1),
    "smoothness": ("smoothness", 1),
    "straightness": ("straightness", 1),
    "travelled": ("distance travelled", 1),
    "from_start": ("distance from start", 1),
    "dimension": ("dimension", 1),
}

_IDEAL_DASHES = ("--", ":")
_SERIES_COLOURS = (PALETTE[0], PALETTE[1], PALETTE[3])


def path_shapes(
    zoos: Mapping[str, Mapping[str, Mapping[str, ArrayLike]]],
    ideal: Mapping[str, Mapping[str, ArrayLike]],
) -> Figure:
    """Draw quantities over epochs, a column for each kind of net (chapter 05).

    Lines are medians over nets, bands reach from the 10th to the 90th percentile.

    Parameters
    ----------
    zoos : mapping
        kind of net -> zoo -> quantity (a key of :data:`.LABELS`) -> values, shape
        [nets, epochs + 1]. All hold the same quantities: a row each.
    ideal : mapping
        name of a path that goes nowhere -> quantity -> values, shape [epochs + 1];
        a line in the rows that it has.

    Raises
    ------
    ValueError
        If there are no zoos.
    """
    rows = list(dict.fromkeys(
        quantity
        for shown in zoos.values() for values in shown.values() for quantity in values
    ))  # fmt: skip
    fig, axes = panels(zoos, by="zoo", height=1.35, rows=len(rows), sharex="col")
    keys = {}
    for (kind, shown), column in zip(zoos.items(), axes.T, strict=True):
        column[0].set_title(title_of(kind))
        for quantity, ax in zip(rows, column, strict=True):
            factor = LABELS[quantity][1]
            for (zoo, values), colour in zip(
                shown.items(), _SERIES_COLOURS, strict=False
            ):
                keys[zoo] = Line2D([], [], color=colour, lw=1.6, label=zoo)
                epochs, low, middle, high = _bands(
                    factor * np.asarray(values[quantity])
                )
                ax.plot(epochs, middle, color=colour, lw=1.6)
                ax.fill_between(epochs, low, high, color=colour, alpha=0.2, lw=0)
            for (name, path), dash in zip(ideal.items(), _IDEAL_DASHES, strict=False):
                if quantity in path:
                    keys[name] = Line2D([], [], color=DARK, ls=dash, lw=1.1, label=name)
                    ax.plot(
                        factor * np.asarray(path[quantity]), dash, color=DARK, lw=1.1
                    )
            if quantity in ("step", "curvature", "travelled", "from_start"):
                ax.set_yscale("log")
        column[-1].set_xlabel("epoch")
        column[-1].xaxis.set_major_locator(round_ticks(integer=True))
    for quantity, ax in zip(rows, axes[:, 0], strict=True):
        ax.set_ylabel(LABELS[quantity][0])
    fig.align_ylabels(axes[:, 0])
    fig.legend(handles=list(keys.values()), loc="outside lower center", ncols=4)
    return fig


def _bands(values: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Epochs at which all is defined; 10th, 50th and 90th percentile over nets."""
    epochs = np.flatnonzero(np.isfinite(values).all(axis=0))
    return epochs, *np.percentile(values[:, epochs], [10, 50, 90], axis=0)


def correlations(
    tables: Mapping[str, Mapping[str, Mapping[str, Estimate]]],
) -> Figure:
    """Draw rank correlations as coloured numbers, side by side (chapter 05).

    A cell whose interval holds zero is left white.

    Parameters
    ----------
    tables : mapping
        title -> quantity -> column -> estimate. Tables share their quantities, and a
        table's quantities their columns.

    Raises
    ------
    ValueError
        If there are no tables.
    """
    rows = list(next(iter(tables.values()), ()))
    fig, axes = panels(tables, by="table", height=0.9 + 0.3 * len(rows), sharey=True)
    for (title, table), ax in zip(tables.items(), axes[0], strict=True):
        columns = list(table[rows[0]])
        cells = [[table[row][column] for column in columns] for row in rows]
        shown = [[e.value if e.sign else np.nan for e in row] for row in cells]
        image = ax.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        for y, row in enumerate(cells):
            for x, estimate in enumerate(row):
                strong = estimate.sign and abs(estimate.value) > 0.6
                ax.text(
                    x, y, f"{estimate.value:+.2f}".replace("-", "\N{MINUS SIGN}"),
                    color="white" if strong else DARK if estimate.sign else GREY,
                    ha="center", va="center",
                )  # fmt: skip
        ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), [_plain(row) for row in rows])
        ax.set_title(title_of(title))
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
    fig.colorbar(image, ax=axes, shrink=0.8, label="rank correlation")
    return fig


def forecasts(
    zoos: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]], epochs: ArrayLike
) -> Figure:
    """Draw forecasts of improvement against what came, a row a kind (chapter 05).

    Parameters
    ----------
    zoos : mapping
        kind of net -> zoo -> (what came, what was forecast), in points, shape
        [nets, epochs] each; as many zoos of every kind.
    epochs : array_like, shape [epochs]
        Shown as colour.

    Raises
    ------
    ValueError
        If there are no zoos, or what came and what was forecast differ in number.
    """
    width = max((len(shown) for shown in zoos.values()), default=0)
    for shown in zoos.values():
        for zoo, (came, forecast) in shown.items():
            check_lengths(zoo, outcomes=np.ravel(came), forecasts=np.ravel(forecast))
    fig, axes = panels(zoos, by="zoo", height=2.7, columns=width)
    for (kind, shown), row in zip(zoos.items(), axes, strict=True):
        for (zoo, (came, forecast)), ax in zip(shown.items(), row, strict=True):
            came, forecast = np.asarray(came), np.asarray(forecast)
            points = ax.scatter(
                forecast, came, 9, np.broadcast_to(epochs, came.shape), cmap="viridis",
                lw=0, alpha=0.8, rasterized=came.size > MANY,
            )  # fmt: skip
            ends = [min(came.min(), forecast.min()), max(came.max(), forecast.max())]
            ax.plot(ends, ends, color=DARK, lw=0.8, ls="--")
            ax.set(title=f"{kind}, {zoo}", xlabel="forecast improvement, points")
        row[0].set_ylabel("improvement that came, points")
    fig.colorbar(points, ax=axes, shrink=0.6, label="epoch of the forecast")
    return fig


def skill_bars(zoos: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> Figure:
    """Draw forecast skills with their intervals, a panel a kind of net (chapter 05).

    Parameters
    ----------
    zoos : mapping
        kind of net -> zoo -> what the forecast knows -> its skill.

    Raises
    ------
    ValueError
        If there are no zoos.
    """
    names = list(dict.fromkeys(
        name for shown in zoos.values() for skills in shown.values() for name in skills
    ))  # fmt: skip
    fig, axes = panels(zoos, by="zoo", height=0.6 + 0.32 * len(names), sharey=True)
    keys = {}
    for (kind, shown), ax in zip(zoos.items(), axes[0], strict=True):
        height = 0.8 / len(shown)
        for k, ((zoo, skills), colour) in enumerate(
            zip(shown.items(), _SERIES_COLOURS, strict=False)
        ):
            known = [
                (y, skills[name]) for y, name in enumerate(names) if name in skills
            ]
            places = np.array([y for y, _ in known]) + (k + 0.5) * height - 0.4
            values = np.array([(e.value, e.low, e.high) for _, e in known]).T
            keys[zoo] = ax.barh(
                places, values[0], 0.9 * height, color=colour, label=zoo
            )
            ax.hlines(places, values[1], values[2], color=DARK, lw=1)
        ax.axvline(0, color=DARK, lw=0.8)
        ax.set(title=title_of(kind), xlabel="skill: 1 perfect, 0 as the time alone")
        ax.set_yticks(range(len(names)), [_plain(name) for name in names])
        ax.grid(False, axis="y")
    axes[0, 0].invert_yaxis()
    fig.legend(handles=list(keys.values()), loc="outside lower center", ncols=3)
    return fig


def _plain(name: str) -> str:
    """A quantity's label without its unit; other names as they are."""
    return LABELS.get(name, (name,))[0].partition(",")[0]


def stopping(
    zoos: Mapping[str, Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]]],
    allowed: float,
) -> Figure:
    """Draw what rules of early stopping save and cost, a row a kind (chapter 05).

    Parameters
    ----------
    zoos : mapping
        kind of net -> zoo -> rule -> (epochs saved, points given up), one entry a
        threshold of the rule; as many zoos of every kind.
    allowed : float
        Points that are put up with, drawn as a line.

    Raises
    ------
    ValueError
        If there are no zoos.
    """
    width = max((len(shown) for shown in zoos.values()), default=0)
    fig, axes = panels(zoos, by="zoo", height=2.3, columns=width)
    keys = {}
    for (kind, shown), row in zip(zoos.items(), axes, strict=True):
        for (zoo, rules), ax in zip(shown.items(), row, strict=True):
            for (rule, (saved, given_up)), colour in zip(
                rules.items(), PALETTE, strict=False
            ):
                (keys[rule],) = ax.plot(
                    saved, given_up, color=colour, lw=1.5, label=rule
                )
            ax.axhline(allowed, color=GREY, lw=0.8, ls="--")
            ax.set(title=f"{kind}, {zoo}", ylim=(0, 6 * allowed))
            ax.set_xlabel("epochs saved")
        row[0].set_ylabel("points given up")
    fig.legend(handles=list(keys.values()), loc="outside lower center", ncols=3)
    return fig


def monitor_log(log: DataFrame) -> Figure:
    """Draw what a live monitor logged, with its alarms (chapter 05).

    Above the length of each step, of the whole net and of its layers; below the
    turning angle. An alarm is a vertical line with its name.

    Parameters
    ----------
    log : DataFrame
        As from :func:`nwslib.monitor.read_log`, of one run.

    Raises
    ------
    ValueError
        If there are no observations.
    """
    if log.empty:
        raise ValueError("the log holds no observation: train longer than `every`.")
    fig, axes = panels({"log": log}, by="log", height=1.9, rows=2, sharex=True)
    above, below = axes[:, 0]
    layers = [column for column in log if column.startswith("layer:")]
    for column, colour in zip(layers, net_colours(len(layers)), strict=True):
        above.plot(log["step"], log[column], color=colour, lw=0.9,
                   label=column.replace(":", " "))  # fmt: skip
    above.plot(log["step"], log["length"], color=DARK, lw=1.4, label="whole net")
    above.set(yscale="log", ylabel="step length")
    label, factor = LABELS["turning"]
    below.plot(log["step"], factor * log["turning"], color=DARK, lw=1.4)
    below.set(ylabel=label, ylim=(0, 180), yticks=[0, 90, 180])
    below.set_xlabel("training step")
    for step, names in zip(log["step"], log["alarms"], strict=True):
        if names:
            for ax in (above, below):
                ax.axvline(step, color=PALETTE[1], ls="--", lw=1, zorder=0)
            above.annotate(
                names, (step, 1), xycoords=("data", "axes fraction"),
                xytext=(3, -3), textcoords="offset points", va="top",
                color=PALETTE[1],
            )  # fmt: skip
    fig.legend(loc="outside lower center", ncols=4)
    return fig
