import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from nwslib import plots

pytestmark = pytest.mark.usefixtures("book_style")


def texts(figure):
    return {text.get_text() for text in figure.findobj(plt.Text)}


def test_maps_stand_in_rows_of_parts_with_their_range():
    rng = np.random.default_rng(0)
    values = {part: rng.random((20, 7)) for part in ("all", "conv", "fc")}
    lacking = {"all": values["all"], "fc": values["fc"]}
    figure = plots.performance_maps(
        {"dataset": values, "init": lacking}, {"dataset": 0.2, "init": 0.25}
    )
    images = [image for ax in figure.axes for image in ax.images]
    shown = [np.asarray(image.get_array()) for image in images]
    wanted = [values["all"], values["conv"], values["fc"], values["all"], values["fc"]]
    assert all(np.array_equal(a, b) for a, b in zip(shown, wanted, strict=True))
    assert images[0].get_extent() == [0, 100, 100, 0]  # initial weights on top
    low, high = values["conv"].min(), values["conv"].max()
    assert f"{low:.2f} to {high:.2f}" in texts(figure)
    assert {"convolutions", "initialisation\n(chance 0.25)"} <= texts(figure)


def test_curves_have_an_axis_of_powers_and_a_line_of_chance():
    rows = [
        {"hyperparameter": one, "model": model, "mean": 0.3 + k / 10, "std": 0.1,
         "chance": 0.25, "size": size}
        for one in ("dataset", "init")
        for model in ("DMC", "trees")
        for k, size in enumerate((100, 20_000))
    ]  # fmt: skip
    figure = plots.accuracy_curves(pd.DataFrame(rows), "size", "weights")
    first, second = figure.axes
    assert first.get_xscale() == "log"
    drawn = first.containers[0].lines[0]
    assert drawn.get_xdata().tolist() == [100, 20_000]
    assert np.allclose(drawn.get_ydata(), [0.3, 0.4])
    assert [0.25, 0.25] in [list(line.get_ydata()) for line in second.lines]
    assert {"data set", "20,000", "weights", "trees"} <= texts(figure)


def test_bars_are_pairs_over_their_chance():
    kinds = ["with", "with, stripped", "without", "without, stripped"]
    rows = [
        {"hyperparameter": "init", "kind": kind, "mean": k / 10, "std": 0.02}
        for k, kind in enumerate(kinds)
    ]
    figure = plots.grouped_accuracies(pd.DataFrame(rows), {"init": 0.5}, kinds)
    (ax,) = figure.axes
    bars = [c.patches[0] for c in ax.containers if hasattr(c, "patches")]
    assert np.allclose([bar.get_height() for bar in bars], [0, 0.1, 0.2, 0.3])
    assert [bool(bar.get_hatch()) for bar in bars] == [False, True, False, True]
    assert set(kinds) <= texts(figure)


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="no map to draw"):
        plots.performance_maps({}, {})
    with pytest.raises(ValueError, match="no accuracies to draw"):
        plots.accuracy_curves(pd.DataFrame(), "size", "weights")
    with pytest.raises(ValueError, match="no accuracies to draw"):
        plots.grouped_accuracies(pd.DataFrame(), {}, [])
