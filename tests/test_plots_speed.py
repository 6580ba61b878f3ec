import io

import pytest
from matplotlib import pyplot as plt

from nwslib import plots
from nwslib.plots.style import WIDTH

pytestmark = pytest.mark.usefixtures("book_style")

ROW = {
    "name": "train-A1",
    "unit": "us/model-step",
    "ours": 2.0,
    "peers": {"plain-loop": 300.0, "general-engine": 4.0},
    "limit": 0.25,
    "rounds": {"ours": [2.0, 1.9, 2.4], "plain-loop": [280.0, 300.0, 320.0]},
}
GROWTH = {
    "name": "train-A1",
    "unit": "us/step",
    "variable": "models",
    "times": {"ours": [[25, 50.0], [250, 500.0]], "jax-vmap": [[25, 200.0]]},
    "exponents": {"ours": 1.0, "jax-vmap": None},
}


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def svg(figure):
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def marks(ax):
    """Height -> ratio of every contender's mark."""
    singles = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    return {line.get_ydata()[0]: line.get_xdata()[0] for line in singles}


def test_contenders_stand_in_order_of_their_ratio_to_ours():
    ax = plots.speed_ratios([ROW]).axes[0]
    names = labels(ax.get_yticklabels())
    assert names == ["limit", "ours", "general-engine", "plain-loop"]
    assert list(marks(ax).values()) == [0.125, 1.0, 2.0, 150.0]
    assert ax.get_xscale() == "log"
    assert ax.get_title(loc="left") == "train-A1"


def test_times_are_told_in_a_unit_that_suits_them():
    linkage = {
        "name": "linkage", "unit": "s", "ours": 0.0123,
        "peers": {"scipy": 88.2, "near": 99.5, "slow": 123.4}, "limit": 2e-6,
    }  # fmt: skip
    texts = labels(plots.speed_ratios([linkage]).axes[0].texts)
    assert texts == ["2 us", "12 ms", "88 s", "100 s", "123 s"]


def test_bars_span_the_rounds_where_there_are_some():
    ax = plots.speed_ratios([ROW]).axes[0]
    spans = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) > 1]
    assert (1.9 / 2, 2.4 / 2) in spans
    assert (140.0, 160.0) in spans
    bare = plots.speed_ratios([{**ROW, "rounds": {}}]).axes[0]
    assert len(bare.lines) == len(ax.lines) - 2


def test_rows_share_one_axis_and_a_row_without_limit_is_drawn():
    fig = plots.speed_ratios([ROW, {**ROW, "name": "other", "limit": None}])
    first, second = fig.axes
    assert first.get_xlim() == second.get_xlim()
    assert "limit" not in labels(second.get_yticklabels())
    assert fig.get_size_inches()[0] == WIDTH


def test_growth_is_drawn_in_seconds_with_its_powers():
    ax = plots.growth([GROWTH]).axes[0]
    assert labels(ax.get_legend().get_texts()) == ["ours, power 1.00", "jax-vmap"]
    assert list(ax.lines[0].get_xdata()) == [25, 250]
    assert list(ax.lines[0].get_ydata()) == pytest.approx([50e-6, 500e-6])
    assert ax.get_ylabel() == "seconds a step"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_contender_keeps_its_colour_from_panel_to_panel():
    other = {**GROWTH, "name": "b", "times": {"jax-vmap": [[25, 9.0], [250, 10.0]]}}
    first, second = plots.growth([GROWTH, other]).axes
    assert first.lines[1].get_color() == second.lines[0].get_color()


@pytest.mark.parametrize("draw", [plots.speed_ratios, plots.growth])
def test_nothing_to_draw_is_an_error(draw):
    with pytest.raises(ValueError, match="pass at least one"):
        draw([])


@pytest.mark.parametrize(
    "draw", [lambda: plots.speed_ratios([ROW] * 2), lambda: plots.growth([GROWTH])]
)
def test_figures_are_reproducible_legible_and_whole(draw):
    figure = draw()
    figure.canvas.draw()
    texts = [t for t in figure.findobj(plt.Text) if t.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 9
    drawn, page = figure.get_tightbbox(), figure.get_size_inches()
    assert (drawn.min > -0.01).all() and (drawn.max < page + 0.01).all()
    assert svg(draw()) == svg(draw())
