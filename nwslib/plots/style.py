"""What all figures share: size, colours, the look of axes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

#: Width of a page's text column in inches.
WIDTH = 7.2

#: After P. Tol's "muted" scheme: told apart with any colour vision.
PALETTE = (
    "#332288", "#CC6677", "#117733", "#DDAA33", "#56B4E9",
    "#882255", "#44AA99", "#999933", "#AA4499",
)  # fmt: skip

GREY, DARK = "#9A9A9A", "#333333"

#: Above this many points or lines, marks become pixels inside the SVG.
MANY = 300

#: Measures of the epoch-order tables, by column.
MEASURES = {
    "purity": "cluster purity",
    "ordered_initial": "ordered initial epochs",
    "ordered_pairs": "share of ordered epochs",
}

_ZOO_TITLES = {"A1": "A1, fully connected", "A2": "A2, convolutional"}


def use_book_style() -> None:
    """Set the look of all figures; in a notebook, also show them as SVG.

    Equal figures give equal bytes: SVG ids come from a fixed salt, text is drawn
    as paths of matplotlib's own font, and the notebook's images carry no date.
    """
    sns.set_theme(
        style="ticks",
        palette=PALETTE,
        rc={
            "figure.dpi": 150,  # of what is rasterised; SVG has its own unit
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "svg.fonttype": "path",
            "svg.hashsalt": "nwslib",
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.labelsize": 9,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.8,
            "axes.grid": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.6,
            "xtick.major.width": 0.8,
            "ytick.major.width": 0.8,
            "xtick.major.size": 3,
            "ytick.major.size": 3,
        },
    )
    ipython = sys.modules.get("IPython")
    if ipython and ipython.get_ipython():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # "tight" would give every figure a width of its own.
        set_matplotlib_formats("svg", bbox_inches=None, metadata={"Date": None})


def net_colours(count: int) -> list[str]:
    """Colours of nets in ascending order; they repeat from the tenth on."""
    return list(itertools.islice(itertools.cycle(PALETTE), count))


def panels(
    shown: Mapping[str, object],
    *,
    by: str,
    height: float,
    rows: int | None = None,
    columns: int | None = None,
    **share: object,
) -> tuple[Figure, NDArray]:
    """Panels for each thing shown: side by side, or one below the other.

    ``columns`` gives each a row of that many panels, else each has a column of
    ``rows`` (one unless told); ``height`` is a row's, in inches.
    """
    if not shown:
        raise ValueError(f"no {by} to draw: pass at least one.")
    if columns:
        rows = len(shown)
    else:
        rows, columns = rows or 1, len(shown)
    size = (WIDTH, rows * height + 0.5)
    return plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", **share
    )


def round_ticks(count: int = 6, integer: bool = False) -> MaxNLocator:
    """At most ``count`` intervals between ticks, at multiples of 1, 2, 5 or 10."""
    return MaxNLocator(count, integer=integer, steps=[1, 2, 5, 10])


def check_lengths(zoo: str, **arrays: ArrayLike) -> None:
    """ValueError unless a zoo's arrays have one length."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"'{zoo}' has {told}: pass one of each for every point.")


def title_of(zoo: str) -> str:
    """A zoo's name with its kind of net, where it is one of the paper's."""
    return _ZOO_TITLES.get(zoo, zoo)
