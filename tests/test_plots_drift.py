import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PolyCollection

from nwslib import plots
from nwslib.progress import Estimate

pytestmark = pytest.mark.usefixtures("book_style")


def texts(figure):
    return [text.get_text() for text in figure.findobj(plt.Text) if text.get_text()]


def keys(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def test_images_stand_in_columns_on_one_grey_scale():
    images = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    figure = plots.changed_images({"usual": images[0], "noisy": images[1]})
    axes = np.reshape(figure.axes, (3, 2))
    for row in range(3):
        for column in range(2):
            (shown,) = axes[row, column].images
            np.testing.assert_array_equal(shown.get_array(), images[column, row])
            assert shown.get_clim() == (0, 255)
    assert [ax.get_title("center") for ax in axes[0]] == ["usual", "noisy"]


def test_movement_is_counted_from_the_change():
    values = np.array([[1.0, 2, 3, 40], [3, 4, 5, 60], [5, 6, 7, 80]])
    flat = np.ones((3, 4))
    quantities = {
        "step length": {"same": flat, "other": values},
        "turning angle": {"same": flat, "other": values},
    }
    figure = plots.movement_around_change({"A2": quantities, "A1": quantities}, 3)
    assert len(figure.axes) == 4
    step, _, turning, _ = figure.axes
    for ax in (step, turning):
        other = ax.lines[1]
        np.testing.assert_array_equal(other.get_xdata(), [-2, -1, 0, 1])
        np.testing.assert_array_equal(other.get_ydata(), [3, 4, 5, 60])
        assert ax.lines[-1].get_xdata()[0] == 0.5  # between the last and the first
    assert step.get_yscale() == "log" and turning.get_yscale() == "linear"
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "step length", "", "turning angle", "",
    ]  # fmt: skip
    assert keys(figure) == ["same", "other"]


def test_every_area_is_written_and_controls_stand_below_a_line():
    table = pd.DataFrame(
        {"step": [1.0, 0.75, 0.5], "all": [0.98, 0.02, 0.61]},
        index=["rotated", "noisy", "same"],
    )
    figure = plots.auc_map({"A2": table, "A1": table}, ["same"])
    first, second, _ = figure.axes
    written = {tuple(t.get_position()): t.get_text() for t in first.texts}
    assert written[0, 0] == "1.00" and written[1, 1] == "0.02"
    assert len(written) == len(second.texts) == 6
    assert first.lines[0].get_ydata()[0] == 1.5
    assert first.images[0].get_clim() == (0, 1)
    # black on pale, white on dark
    colours = {t.get_text(): t.get_color() for t in first.texts}
    assert colours["1.00"] == colours["0.02"] == "white" != colours["0.50"]


def test_roc_curves_dash_the_controls_and_keep_colours():
    rates = ([0, 0.5, 1], [0, 1, 1])
    conditions = {"rotated": rates, "same": rates, "backdoor": rates}
    figure = plots.roc_curves(
        {
            "A2": {"step": conditions, "all": conditions},
            "A1": {"step": conditions, "all": conditions},
        },
        ["same"],
    )
    assert len(figure.axes) == 4
    for ax in figure.axes:
        _, rotated, same, backdoor = ax.lines  # the first is the diagonal
        assert same.get_linestyle() == "--"
        assert rotated.get_linestyle() == backdoor.get_linestyle() == "-"
        assert rotated.get_color() != backdoor.get_color()
        assert rotated.get_color() == figure.axes[0].lines[1].get_color()
        np.testing.assert_array_equal(rotated.get_xdata(), rates[0])
        np.testing.assert_array_equal(rotated.get_ydata(), rates[1])
    assert [ax.get_title("left") for ax in figure.axes] == ["step", "all", "", ""]
    assert keys(figure) == ["rotated", "same", "backdoor"]


def test_doses_are_shares_on_a_logarithmic_axis():
    doses = {0.01: Estimate(0.5, 0.4, 0.6), 1.0: Estimate(0.9, 0.8, 1.0)}
    detectors = {"step": doses, "accuracy": doses}
    figure = plots.dose_response({"A2": {"rotated": detectors, "backdoor": detectors}})
    above, below = figure.axes
    line = above.lines[1]  # the first is chance
    np.testing.assert_array_equal(line.get_xdata(), [0.01, 1])
    np.testing.assert_array_equal(line.get_ydata(), [0.5, 0.9])
    (band, _) = (c for c in above.collections if isinstance(c, PolyCollection))
    assert band.get_paths()[0].get_extents().y0 == pytest.approx(0.4)
    assert above.get_xscale() == "log"
    figure.canvas.draw()
    assert {"1%", "100%"} <= set(texts(figure))
    assert below.get_ylabel() == "backdoor\nAUC"
    assert keys(figure) == ["step", "accuracy"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.changed_images({}), "pass equally many images"),
        (
            lambda: plots.changed_images(
                {"a": np.zeros((2, 4, 4)), "b": np.zeros((3, 4, 4))}
            ),
            "'b': .3, 4, 4..: pass equally many images of one size",
        ),
        (lambda: plots.movement_around_change({}, 3), "no zoo to draw"),
        (lambda: plots.auc_map({}, []), "no table to draw"),
        (
            lambda: plots.auc_map(
                {
                    "A1": pd.DataFrame({"step": [1.0]}, index=["rotated"]),
                    "A2": pd.DataFrame({"step": [1.0]}, index=["noisy"]),
                },
                [],
            ),
            "'A2': .'noisy'.*: pass the same conditions for each",
        ),
        (lambda: plots.roc_curves({}, []), "no zoo to draw"),
        (lambda: plots.dose_response({}), "no zoo to draw"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    assert not plt.get_fignums()
