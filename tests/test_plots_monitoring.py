import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection

from nwslib import plots
from nwslib.plots.style import GREY
from nwslib.progress import Estimate

pytestmark = pytest.mark.usefixtures("book_style")


def ticks(labels):
    return [label.get_text() for label in labels]


# --- shapes -----------------------------------------------------------------


def test_path_shapes_are_medians_where_all_is_defined():
    turning = np.full((3, 5), np.nan)
    turning[:, 2:] = np.array([[1], [2], [9]]) * np.pi / 180
    turning[0, 2] = np.nan
    step = np.full((3, 5), 4.0)
    figure = plots.path_shapes(
        {kind: {"mine": {"step": step, "turning": turning}} for kind in ("A1", "A2")},
        {"random walk": {"turning": np.full(5, np.pi / 2)}},
    )
    assert len(figure.axes) == 4
    above, below = figure.axes[0], figure.axes[2]
    assert [above.get_title("left"), figure.axes[1].get_title("left")] == [
        "A1, fully connected", "A2, convolutional"
    ]  # fmt: skip
    assert above.get_yscale() == "log" and below.get_yscale() == "linear"
    median, walk = below.lines
    np.testing.assert_array_equal(median.get_xdata(), [3, 4])
    np.testing.assert_allclose(median.get_ydata(), 2)  # degrees
    np.testing.assert_allclose(walk.get_ydata(), 90)
    assert len(above.lines) == 1  # a walk has no step length of its own
    assert ticks(figure.legends[0].texts) == ["mine", "random walk"]


# --- correlations -----------------------------------------------------------


def test_correlations_leave_cells_white_whose_interval_holds_zero():
    table = {
        "turning": {"now": Estimate(-0.7, -0.8, -0.6), "end": Estimate(0.1, -0.1, 0.3)}
    }
    ax = plots.correlations({"A2": table}).axes[0]
    (image,) = ax.images
    assert image.get_array().mask.tolist() == [[False, True]]
    assert image.get_array()[0, 0] == -0.7
    assert image.get_clim() == (-1, 1)
    assert ticks(ax.texts) == ["−0.70", "+0.10"]
    assert [text.get_color() for text in ax.texts] == ["white", GREY]
    assert ticks(ax.get_yticklabels()) == ["turning angle"]
    assert ticks(ax.get_xticklabels()) == ["now", "end"]


def test_tables_may_differ_in_columns():
    one = {"step": {"a": Estimate(0.5, 0.4, 0.6)}}
    two = {"step": {"b": Estimate(0.5, 0.4, 0.6), "c": Estimate(0, 0, 0)}}
    left, right, _ = plots.correlations({"A1": one, "A2": two}).axes
    assert ticks(left.get_xticklabels()) == ["a"]
    assert ticks(right.get_xticklabels()) == ["b", "c"]


# --- forecasts --------------------------------------------------------------


def test_forecasts_show_what_came_over_what_was_forecast():
    came, forecast = np.array([[3.0, 1.0]]), np.array([[2.0, -1.0]])
    zoos = {kind: {"one": (came, forecast), "own": (came, forecast)} for kind in "ab"}
    figure = plots.forecasts(zoos, [5, 10])
    assert [ax.get_title("left") for ax in figure.axes[:4]] == [
        "a, one", "a, own", "b, one", "b, own"
    ]  # fmt: skip
    points = figure.axes[0].collections[0]
    np.testing.assert_array_equal(points.get_offsets(), [[2, 3], [-1, 1]])
    np.testing.assert_array_equal(points.get_array().ravel(), [5, 10])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [-1, 3])


def test_skill_bars_stand_in_one_order_with_their_intervals():
    step, both = Estimate(0.5, 0.4, 0.6), Estimate(-0.1, -0.3, 0.0)
    zoos = {"A1": {"one": {"step": step}, "own": {"step": step, "all": both}}}
    ax = plots.skill_bars(zoos).axes[0]
    assert ticks(ax.get_yticklabels()) == ["step length", "all"]
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.5, -0.1]
    spans = [
        segment[:, 0].tolist()
        for lines in ax.collections if isinstance(lines, LineCollection)
        for segment in lines.get_segments()
    ]  # fmt: skip
    assert spans == [[0.4, 0.6], [0.4, 0.6], [-0.3, 0.0]]
    centres = [bar.get_y() + bar.get_height() / 2 for bar in ax.patches]
    assert centres[0] < 0 < centres[1] < centres[2]


def test_stopping_draws_a_curve_a_rule_and_what_is_allowed():
    rules = {"turning angle": ([9, 0], [2.0, 0.0]), "epoch": ([9, 0], [3.0, 0.0])}
    figure = plots.stopping({"A1": {"one": rules}, "A2": {"one": rules}}, 0.5)
    turning, epoch, allowed = figure.axes[0].lines
    np.testing.assert_array_equal(turning.get_xydata(), [[9, 2], [0, 0]])
    assert allowed.get_ydata()[0] == 0.5
    assert ticks(figure.legends[0].texts) == ["turning angle", "epoch"]
    assert [ax.get_title("left") for ax in figure.axes] == ["A1, one", "A2, one"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.path_shapes({}, {}), "no zoo to draw: pass at least one"),
        (lambda: plots.correlations({}), "no table to draw: pass at least one"),
        (lambda: plots.forecasts({}, []), "no zoo to draw: pass at least one"),
        (
            lambda: plots.forecasts({"A1": {"own": ([[1, 2]], [[1]])}}, [5, 10]),
            "'own' has 2 outcomes, 1 forecasts: pass one of each",
        ),
        (lambda: plots.skill_bars({}), "no zoo to draw: pass at least one"),
        (lambda: plots.stopping({}, 0.5), "no zoo to draw: pass at least one"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    assert not plt.get_fignums()


# --- a monitor's log --------------------------------------------------------


def test_a_monitors_log_is_drawn_with_its_alarms():
    log = pd.DataFrame(
        {
            "step": [10, 20, 30],
            "length": [2.0, 1.0, 3.0],
            "layer:a": [1.0, 0.5, 2.0],
            "turning": [np.nan, np.pi / 2, np.pi],
            "alarms": ["", "", "jump,turn"],
        }
    )
    above, below = plots.monitor_log(log).axes
    layer, whole, alarm = above.lines
    np.testing.assert_array_equal(layer.get_ydata(), [1, 0.5, 2])
    np.testing.assert_array_equal(whole.get_ydata(), [2, 1, 3])
    assert alarm.get_xdata() == [30, 30]
    assert ticks(above.texts) == ["jump,turn"]
    np.testing.assert_allclose(below.lines[0].get_ydata()[1:], [90, 180])


def test_an_empty_log_is_refused():
    with pytest.raises(ValueError, match="the log holds no observation: train longer"):
        plots.monitor_log(pd.DataFrame({"step": []}))
