"""Figures of how fast the library is (chapter *How fast*)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from nwslib.plots.style import DARK, GREY, PALETTE, WIDTH, panels

#: Contender -> colour; all others are peers.
_COLOURS = {"ours": PALETTE[0], "general-engine": PALETTE[4], "limit": GREY}
_PEER = PALETTE[1]

#: Units of time in seconds.
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def speed_ratios(rows: Sequence[Mapping[str, object]]) -> Figure:
    """Show how much longer than ours everything else takes.

    A panel for each row on one logarithmic axis, ours at 1, the slowest on top.
    Horizontal lines span the rounds where they were recorded.

    Parameters
    ----------
    rows : sequence of mapping
        From the bench's file: ``name``, ``unit``, ``ours``, ``peers`` (contender
        to time), ``limit`` (a time or None) and, where recorded, ``rounds``
        (contender to times).

    Raises
    ------
    ValueError
        If there are no rows.
    """
    if not rows:
        raise ValueError("no rows to draw: pass at least one of a bench's file.")
    contenders = [_contenders(row) for row in rows]
    counts = [len(times) for times in contenders]
    fig, axes = plt.subplots(
        len(rows),
        figsize=(WIDTH, 0.7 + 0.42 * len(rows) + 0.21 * sum(counts)),
        squeeze=False,
        sharex=True,
        height_ratios=[count + 0.6 for count in counts],
        layout="constrained",
    )
    for row, times, ax in zip(rows, contenders, axes[:, 0], strict=True):
        for place, (name, time) in enumerate(times.items()):
            ratio = time / row["ours"]
            colour = _COLOURS.get(name, _PEER)
            end = ratio  # the number stands to the right of all that is drawn
            spans = row.get("rounds", {}).get(name)
            if spans:
                start, end = min(spans) / row["ours"], max(spans) / row["ours"]
                ax.plot([start, end], [place, place], color=colour, lw=2.2, alpha=0.5)
            marker = "|" if name == "limit" else "o"
            ax.plot(ratio, place, marker, color=colour, ms=6, mew=2)
            ax.annotate(
                _told(time, row["unit"]), (end, place), (8, 0),
                textcoords="offset points", va="center", color=DARK, fontsize=9,
            )  # fmt: skip
        ax.axvline(1, color=_COLOURS["ours"], lw=0.8, zorder=0)
        ax.set_yticks(range(len(times)), times)
        ax.set(title=row["name"], xscale="log", ylim=(-0.7, len(times) - 0.3))
        ax.grid(axis="y", visible=False)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * 4)  # room for the last numbers
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("time, ours = 1")
    return fig


def growth(growths: Sequence[Mapping[str, object]]) -> Figure:
    """Draw how times grow with the size of a task, a panel for each.

    Parameters
    ----------
    growths : sequence of mapping
        From the bench's file: ``name``, ``unit``, ``variable``, ``times``
        (contender to pairs of size and time) and ``exponents`` (contender to the
        fitted power, or None), which stand in the legend.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    shown = {entry["name"]: entry for entry in growths}
    fig, axes = panels(shown, by="growth", height=2.9)
    names = list(dict.fromkeys(name for entry in growths for name in entry["times"]))
    colours = dict(zip(names, PALETTE, strict=False))
    for (name, entry), ax in zip(shown.items(), axes[0], strict=True):
        handles = []
        for contender, pairs in entry["times"].items():
            sizes, times = np.array(pairs, dtype=float).T
            seconds = times * _UNITS[entry["unit"].partition("/")[0]]
            colour = colours[contender]
            ax.plot(sizes, seconds, "o-", color=colour, ms=4, lw=1.4)
            power = entry["exponents"].get(contender)
            fit = "" if power is None else f", power {power:.2f}"
            handles.append(
                Line2D([], [], marker="o", ms=4, color=colour, label=contender + fit)
            )
        per = entry["unit"].partition("/")[2]
        ax.set(
            title=name, xlabel=entry["variable"], xscale="log", yscale="log",
            ylabel=f"seconds a {per}" if per else "seconds",
        )  # fmt: skip
        sizes = sorted({size for pairs in entry["times"].values() for size, _ in pairs})
        ax.xaxis.set_major_locator(FixedLocator(sizes))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.22),
            handlelength=1.4, borderaxespad=0,
        )  # fmt: skip
    return fig


def _contenders(row: Mapping[str, object]) -> dict[str, float]:
    """Every time of a row with its name, least first."""
    times = {"ours": row["ours"]} | dict(row["peers"])
    if row.get("limit") is not None:
        times["limit"] = row["limit"]
    return dict(sorted(times.items(), key=lambda entry: entry[1]))


def _told(time: float, unit: str) -> str:
    """A time with two digits, or all before the point, and the unit that suits."""
    unit = unit.partition("/")[0]
    seconds = time * _UNITS[unit]
    unit = next((u for u in ("s", "ms") if seconds >= _UNITS[u]), "us")
    value = seconds / _UNITS[unit]
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"
