import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import same_color

from nwslib import plots
from nwslib.features import STATISTICS, layerwise_names
from nwslib.nws.architecture import FIXED
from nwslib.plots.style import DARK, PALETTE

pytestmark = pytest.mark.usefixtures("book_style")

NAMES = layerwise_names(FIXED.layout)


def texts(figure):
    return {text.get_text() for text in figure.findobj(plt.Text)}


def judged(**means):
    return pd.DataFrame(
        [
            {"hyperparameter": name, "model": model, "mean": mean, "std": 0.1,
             "chance": chance}
            for name, (chance, *of_models) in means.items()
            for model, mean in zip(("SVM", "trees"), of_models, strict=True)
        ]
    )  # fmt: skip


def test_accuracies_are_points_of_a_colour_a_model_over_their_chance():
    figure = plots.meta_accuracies(
        judged(dataset=(0.25, 0.5, 0.7), augmentation=(0.5, 0.6, 0.55))
    )
    (ax,) = figure.axes
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [float(point.get_xdata()[0]) for point in points] == [0.5, 0.7, 0.6, 0.55]
    assert [point.get_color() for point in points] == [*PALETTE[:2]] * 2
    assert {"data set", "augmentation"} <= texts(figure)
    heights = [float(point.get_ydata()[0]) for point in points]
    assert heights == sorted(heights)  # band after band, downwards
    chance = [c for c in ax.collections if same_color(c.get_color()[0], DARK)]
    assert [c.get_segments()[0][0][0] for c in chance] == [0.25, 0.5]
    spread = [c.get_segments()[0] for c in ax.collections if c not in chance]
    assert np.allclose([s[:, 0] for s in spread][0], [0.4, 0.6])


def test_importance_stands_at_its_feature_and_bars_at_its_kind():
    values = np.zeros((2, 480))
    place = NAMES.index("conv2.bias.grad.p99")
    values[:, place] = [1, 3]
    figure = plots.feature_importance({"optimizer": values}, NAMES)
    (ax,) = figure.axes
    lines = [s for c in ax.collections for s in c.get_segments()]
    tall = [s for s in lines if s[0][0] == s[1][0] == place and s[1][1] == 2]
    assert len(tall) == 1  # the mean over rounds
    (bar,) = [s for s in lines if s[0][1] == s[1][1] == 2 / 16]
    assert bar[:, 0].tolist() == [place - 15, place]  # the 16 of this kind
    assert {"conv1", "fc2", "running variance", "bias"} <= texts(figure)


def test_statistics_are_named_and_gradient_has_its_colour():
    names = (*STATISTICS, *(f"grad.{name}" for name in STATISTICS))
    figure = plots.statistic_importance({"init": np.arange(16)[None]}, names)
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == list(range(16))
    assert same_color(ax.patches[0].get_facecolor(), PALETTE[0])
    assert same_color(ax.patches[8].get_facecolor(), PALETTE[1])
    assert {"skewness", "p99 of gradient", "initialisation"} <= texts(figure)


def test_reliability_leaves_empty_bins_out():
    table = pd.DataFrame(
        {"confidence": [0.2, np.nan, 0.9], "accuracy": [0.3, np.nan, 1.0],
         "count": [1, 0, 3]}
    )  # fmt: skip
    (ax,) = plots.reliability({"dataset": table}).axes
    assert ax.lines[1].get_xdata().tolist() == [0.2, 0.9]
    small, large = ax.collections[0].get_sizes()
    assert large > small


def test_confusions_are_written_in_percent():
    table = pd.DataFrame([[0.75, 0.25], [0.1, 0.9]], ["adam", "sgd"], ["adam", "sgd"])
    figure = plots.confusions({"optimizer": table})
    assert {"75", "25", "10", "90", "Adam", "sgd", "optimizer"} <= texts(figure)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.meta_accuracies(judged()), "judge one meta-classifier"),
        (lambda: plots.feature_importance({}, NAMES), "no importance to draw"),
        (
            lambda: plots.feature_importance({"init": np.ones((2, 3))}, NAMES),
            "'init' has 3 features and there are 480 names",
        ),
        (lambda: plots.statistic_importance({}, []), "no importance to draw"),
        (lambda: plots.reliability({}), "pass one table"),
        (lambda: plots.confusions({}), "pass one table"),
    ],
)
def test_nothing_to_draw_is_an_error(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
