"""Figures of lineages."""

import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color

from nwslib import plots
from nwslib.checkpoints import Rejected
from nwslib.lineage.result import Architecture, Lineage, Link, Run
from nwslib.plots.style import GREY

pytestmark = pytest.mark.usefixtures("book_style")


def lineage(extra=0):
    """A run with a copy, a branch of it, an outlier, a second architecture."""
    runs = [
        Run("run-1", "aa", ("a", "b", "b again", "c"), False),
        Run("run-2", "aa", ("d", "e"), False),
        Run("run-3", "aa", ("f",), True),
        Run("run-4", "bb", ("g",), False),
        *(Run(f"run-{5 + k}", "bb", (f"h{k}",), False) for k in range(extra)),
    ]
    links = [
        Link("a", "b", 1.0, 0.9, "step"),
        Link("b", "b again", 0.0, 1.0, "duplicate"),
        Link("b", "c", 0.5, 0.3, "step"),
        Link("b", "d", 0.7, 0.6, "branch"),
        Link("d", "e", 0.6, 0.9, "step"),
    ]
    architectures = (Architecture("aa", 2, 12345), Architecture("bb", 1, 7))
    return Lineage(architectures, tuple(runs), tuple(links), (Rejected("x", "y"),))


def drawn(fig):
    (ax,) = fig.axes
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    return ax, lines


def test_places_in_the_tree():
    ax, lines = drawn(plots.lineage_tree(lineage()))
    ends = [tuple(path.vertices[[0, -1]].ravel()) for path in lines.get_paths()]
    assert ends == [
        (0, 0, 1, 0),
        (1, 0, 1, 0.36),  # the copy hangs
        (1, 0, 2, 0),
        (1, 0, 2, 1),  # the branch begins a step after its parent, a lane below
        (2, 1, 3, 1),
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "run-1", "run-2", "run-3", "run-4",
    ]  # fmt: skip
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_unsure_links_are_dashed_and_outliers_grey():
    fig = plots.lineage_tree(lineage())
    ax, lines = drawn(fig)
    dashed = [pattern is not None for _, pattern in lines.get_linestyle()]
    assert dashed == [False, False, True, False, False]
    crosses = [line for line in ax.lines if line.get_marker() == "X"]
    assert len(crosses) == 1
    assert same_color(crosses[0].get_markerfacecolor(), GREY)
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "checkpoint", "outlier", "duplicate", "confidence below 0.5",
    ]  # fmt: skip
    assert "12,345\nweights" in [text.get_text() for text in ax.texts]


def test_many_runs_are_cut():
    ax, _ = drawn(plots.lineage_tree(lineage(extra=100)))
    assert len(ax.get_yticks()) == 60
    assert ax.get_title(loc="left") == "the first 60 of 104 runs"


def test_calibration_has_a_panel_for_each_table():
    table = pd.DataFrame(
        {"links": [1, 9], "confidence": [0.2, 0.9], "right": [0.5, 1.0]}
    )
    fig = plots.calibration({"A1": table, "other": table})
    assert [ax.get_title(loc="left") for ax in fig.axes] == [
        "A1, fully connected", "other",
    ]  # fmt: skip
    dots = fig.axes[0].collections[0]
    assert dots.get_offsets().tolist() == [[0.2, 0.5], [0.9, 1.0]]
    small, large = dots.get_sizes()
    assert small < large
    with pytest.raises(ValueError, match="no table to draw"):
        plots.calibration({})
