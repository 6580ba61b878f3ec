import io
import sys

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color, to_hex
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from simulated import simulated_history, simulated_runs

from nwslib import plots
from nwslib.clustering import single_linkage
from nwslib.features import layerwise_names
from nwslib.findings import pair_table
from nwslib.flatten import Layout
from nwslib.lineage.result import Architecture, Lineage, Link, Run
from nwslib.nets import A1, A2
from nwslib.nws.architecture import FIXED
from nwslib.papers import ClusterRow
from nwslib.plots.order import _restrict
from nwslib.plots.style import GREY, PALETTE, WIDTH
from nwslib.progress import Estimate
from nwslib.regression import coefficient_correlations, regress

pytestmark = pytest.mark.usefixtures("book_style")

LAYOUTS = {"A1": Layout.of(A1()), "A2": Layout.of(A2())}
MEASURES = ["purity", "ordered_initial", "ordered_pairs"]
PAPER = ClusterRow(1.0, 20.0, 0.7)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def heap(nets=3, epochs=4, dim=2, apart=100.0):
    """Nets far apart whose steps become shorter."""
    steps = np.cumsum(1 / np.arange(1, epochs + 1))
    points = np.zeros((nets, epochs, dim))
    points[..., 0] = apart * np.arange(nets)[:, None] + steps
    return (
        points.reshape(-1, dim),
        np.repeat(np.arange(nets), epochs),
        np.tile(np.arange(1, epochs + 1), nets),
    )


def tree(**kwargs):
    points, nets, epochs = heap(**kwargs)
    return single_linkage(points), nets, epochs


def history(nets=3, epochs=4):
    index = pd.MultiIndex.from_product(
        [range(nets), range(epochs + 1), ["train", "test"]],
        names=["run", "epoch", "split"],
    )
    table = index.to_frame(index=False)
    return table.assign(accuracy=table.run / 10, loss=1.0 / (1 + table.epoch))


def reading_table():
    columns = ["accuracy", "diverged", *MEASURES]
    rows = [[0.8, 0, 0.9, 5, 0.6], [0.1, 8, np.nan, np.nan, np.nan]]
    return pd.DataFrame(rows, columns=columns, index=["AdamW", "SGD, as printed"])


def scores():
    row = dict.fromkeys(MEASURES, 0.5)
    return {
        "A2": {
            "paper": {"full space": vars(PAPER), "SVD 500": vars(PAPER)},
            "recorded": {},
            "this run": {"full space": row},
        }
    }


SAMPLED = simulated_runs(200, ("mnist", "svhn"), fixed=True)
REGRESSED = [regress(SAMPLED, name) for name in ("mnist", "svhn")]


JUDGED = pd.DataFrame(
    {
        "hyperparameter": ["dataset", "dataset", "optimizer", "optimizer"],
        "model": ["linear SVM", "tokens"] * 2,
        "mean": [0.5, 0.7, 0.6, 0.9],
        "std": [0.05, 0.02, 0.03, 0.01],
        "chance": [0.25, 0.25, 1 / 3, 1 / 3],
    }
)
RELIABLE = pd.DataFrame(
    {
        "confidence": [0.3, np.nan, 0.9],
        "accuracy": [0.4, np.nan, 1.0],
        "count": [9, 0, 1],
    }
)
DRAWINGS = {
    "model_sizes": lambda: plots.model_sizes(SAMPLED),
    "accuracy_progress": lambda: plots.accuracy_progress(
        simulated_history(SAMPLED[:6]), SAMPLED[:6]
    ),
    "accuracy_modes": lambda: plots.accuracy_modes(SAMPLED),
    "pair_maps": lambda: plots.pair_maps(pair_table(SAMPLED, "init", "activation")),
    "regression_coefficients": lambda: plots.regression_coefficients(
        REGRESSED[0].coefficients
    ),
    "regression_errors": lambda: plots.regression_errors(
        REGRESSED,
        coefficient_correlations({one.dataset: one.coefficients for one in REGRESSED}),
    ),
    "weight_map": lambda: plots.weight_map(
        np.eye(200, 2), SAMPLED.assign(progress=1.0, test_error=0.5)
    ),
    "meta_accuracies": lambda: plots.meta_accuracies(JUDGED),
    "feature_importance": lambda: plots.feature_importance(
        {"dataset": np.eye(3, 480), "init": np.ones((1, 480))},
        layerwise_names(FIXED.layout),
    ),
    "statistic_importance": lambda: plots.statistic_importance(
        {name: np.eye(2, 3) for name in ("dataset", "init", "lr", "optimizer", "x")},
        ["mean", "skew", "grad.p1"],
    ),
    "reliability": lambda: plots.reliability(
        {"dataset": RELIABLE, "init": RELIABLE, "optimizer": RELIABLE, "x": RELIABLE}
    ),
    "confusions": lambda: plots.confusions(
        {
            "init": pd.DataFrame(
                np.eye(2), ["normal", "constant"], ["normal", "constant"]
            )
        }
    ),
    "changed_images": lambda: plots.changed_images(
        {"usual": np.zeros((2, 14, 14)), "other\ndata set": np.ones((2, 14, 14))}
    ),
    "movement_around_change": lambda: plots.movement_around_change(
        {"A1": {"step length": {"same": np.ones((3, 4)), "other": np.eye(4) + 1}}}, 2
    ),
    "auc_map": lambda: plots.auc_map(
        {"A1": pd.DataFrame({"step": [0.9, 0.5]}, index=["rotated", "same"])}, ["same"]
    ),
    "roc_curves": lambda: plots.roc_curves(
        {"A1": {"step": {"rotated": ([0, 1], [1, 1]), "same": ([0, 1], [0, 1])}}},
        ["same"],
    ),
    "dose_response": lambda: plots.dose_response(
        {"A1": {"rotated": {"step": {0.1: Estimate(0.6, 0.5, 0.7)}}}}
    ),
    "correlations": lambda: plots.correlations(
        {"A1": {"step": {"raw": Estimate(0.9, 0.8, 1.0)}}}
    ),
    "forecasts": lambda: plots.forecasts(
        {"A1": {"one recipe": (np.eye(3), np.eye(3))}}, [5, 10, 15]
    ),
    "path_shapes": lambda: plots.path_shapes(
        {"A1": {"one recipe": {"step": 1 + np.eye(4), "turning": np.eye(4)}}},
        {"random walk": {"turning": np.ones(4)}},
    ),
    "skill_bars": lambda: plots.skill_bars(
        {"A1": {"one recipe": {"step": Estimate(0.5, 0.4, 0.6)}}}
    ),
    "stopping": lambda: plots.stopping(
        {"A1": {"one recipe": {"turning angle": ([3, 0], [1.0, 0.0])}}}, 0.5
    ),
    "lineage_tree": lambda: plots.lineage_tree(
        Lineage(
            (Architecture("a", 1, 4),),
            (Run("run-1", "a", ("x.pt", "y.pt"), False),),
            (Link("x.pt", "y.pt", 1.0, 0.9, "step"),),
            (),
        )
    ),
    "calibration": lambda: plots.calibration(
        {"A1": pd.DataFrame({"links": [3], "confidence": [0.5], "right": [0.7]})}
    ),
    "layout_strip": lambda: plots.layout_strip(LAYOUTS),
    "weight_images": lambda: plots.weight_images(
        LAYOUTS["A2"], np.linspace(-1, 1, 1376), "conv1.weight", (3, 3)
    ),
    "distance_histograms": lambda: plots.distance_histograms({"start": [1, 2, 2]}),
    "training_curves": lambda: plots.training_curves({"A2": history()}),
    "weight_statistics": lambda: plots.weight_statistics({"A2": np.eye(3)}),
    "step_lengths": lambda: plots.step_lengths({"A2": [[3, 2], [4, 2]]}),
    "trajectories": lambda: plots.trajectories({"A2": heap(epochs=200)}),
    "dendrogram": lambda: plots.dendrogram(*tree()),
    "order_scores": lambda: plots.order_scores(scores()),
    "monitor_log": lambda: plots.monitor_log(
        pd.DataFrame(
            {
                "step": [10, 20, 30],
                "length": [2.0, 1.0, 3.0],
                "layer:a": [1.0, 0.5, 2.0],
                "turning": [np.nan, 1.0, 2.0],
                "alarms": ["", "", "jump"],
            }
        )
    ),
    "readings": lambda: plots.readings(reading_table(), PAPER),
    "speed_ratios": lambda: plots.speed_ratios(
        [{"name": "a", "unit": "s", "ours": 1.0, "peers": {"b": 2.0}, "limit": 0.5}]
    ),
    "performance_maps": lambda: plots.performance_maps(
        {"init": {"all": np.eye(3)}, "dataset": {"fc": np.eye(3)}},
        {"init": 0.25, "dataset": 0.2},
    ),
    "accuracy_curves": lambda: plots.accuracy_curves(
        pd.DataFrame(
            [
                {
                    "hyperparameter": "init",
                    "model": model,
                    "mean": 0.5,
                    "std": 0.1,
                    "chance": 0.25,
                    "size": size,
                }
                for model in ("a", "b")
                for size in (100, 1000)
            ]
        ),
        "size",
        "weights",
    ),
    "grouped_accuracies": lambda: plots.grouped_accuracies(
        pd.DataFrame(
            [
                {"hyperparameter": "init", "kind": k, "mean": 0.5, "std": 0.1}
                for k in "ab"
            ]
        ),
        {"init": 0.25},
        ["a", "b"],
    ),
    "growth": lambda: plots.growth(
        [
            {
                "name": "a",
                "unit": "s",
                "variable": "points",
                "times": {"ours": [[1, 1.0], [2, 4.0]]},
                "exponents": {"ours": 2.0},
            }
        ]
    ),
}


def svg(figure):
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def lines(ax, kind=LineCollection):
    """Artists of one collection class."""
    return [artist for artist in ax.collections if type(artist) is kind]


def labels(figure):
    """Every text of a figure's axes and legend, joined."""
    return "\n".join(
        text.get_text() for text in figure.findobj(plt.Text) if text.get_text()
    )


def test_every_function_is_drawn_here():
    others = {"use_book_style", "lineage_pictures"}  # return no figure
    assert {*DRAWINGS, *others} == set(plots.__all__)


@pytest.mark.parametrize("name", DRAWINGS)
def test_equal_figures_are_equal_bytes_on_white_at_one_width(name):
    figure = DRAWINGS[name]()
    assert figure.get_figwidth() == WIDTH
    assert same_color(figure.get_facecolor(), "white")
    first, second = svg(figure), svg(DRAWINGS[name]())
    assert first == second
    assert b"dc:date" not in first


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_text_is_small_and_nothing_leaves_the_figure(name):
    figure = DRAWINGS[name]()
    figure.canvas.draw()
    sizes = [t.get_fontsize() for t in figure.findobj(plt.Text) if t.get_text()]
    assert min(sizes) >= 9
    drawn, page = figure.get_tightbbox(), figure.get_size_inches()
    assert (drawn.min > -0.01).all() and (drawn.max < page + 0.01).all()


def test_notebook_shows_figures_as_svg_without_date():
    cells = [
        nbformat.v4.new_code_cell(code)
        for code in (
            "from nwslib import plots\nplots.use_book_style()",
            *["_ = plots.distance_histograms({'start': [1, 2, 2]})"] * 2,
        )
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    first, second = (cell.outputs[0].data for cell in notebook.cells[1:])
    assert first == second
    assert "image/png" not in first
    assert f'width="{72 * WIDTH:g}pt"' in first["image/svg+xml"]
    assert "dc:date" not in first["image/svg+xml"]


def test_layout_strip_names_every_tensor_with_its_size():
    figure = plots.layout_strip(LAYOUTS)
    assert len(figure.axes) == 2
    text = labels(figure)
    for layout in LAYOUTS.values():
        for piece in layout:
            assert f"{piece.name}\n{piece.size:,}" in text
    blocks = [patch.get_width() for patch in figure.axes[0].patches]
    assert sorted(b for b in blocks if b > 1) == [100, 100, 1960]


def test_layout_strip_callouts_do_not_overlap():
    figure = plots.layout_strip(LAYOUTS)
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = [plt.Text.get_window_extent(t) for t in ax.texts]  # without arrows
        boxes.sort(key=lambda box: box.x0)
        for left, right in zip(boxes, boxes[1:], strict=False):
            assert not left.overlaps(right)


def test_weight_images_are_the_tensors_own_weights():
    vector = np.arange(2160.0)
    figure = plots.weight_images(LAYOUTS["A1"], vector, "fc1.weight", (14, 14), 4)
    shown = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(shown) == 10  # of 3 x 4 places
    np.testing.assert_array_equal(
        shown[9].get_array(), vector[9 * 196 : 1960].reshape(14, 14)
    )
    assert {image.get_clim() for image in shown} == {(-1959, 1959)}


def test_distance_histograms_leave_out_what_is_not_finite():
    figure = plots.distance_histograms({"a": [1, np.nan, 3, 2], "b": [np.inf, 5]})
    assert "median 2" in labels(figure) and "median 5" in labels(figure)


def test_training_curves_show_medians_over_finite_nets():
    table = history()
    table.loc[table.run == 0, ["accuracy", "loss"]] = np.nan, np.inf  # diverged
    figure = plots.training_curves({"A2": table, "A1": history()})
    assert len(figure.axes) == 4
    (train, test) = figure.axes[0].lines
    np.testing.assert_allclose(test.get_ydata(), 0.15)  # of 0.1 and 0.2
    assert figure.axes[0].get_title("left") == "A2, convolutional"
    assert np.isfinite(figure.axes[2].lines[0].get_ydata()).all()


def test_weight_statistics_colour_finite_nets_by_accuracy():
    columns = ([0.1, 0.2, np.nan], [1, 2, 3], [0.5, 0.9, 0.1])
    figure = plots.weight_statistics({"A2": columns, "A1": columns})
    points = figure.axes[0].collections[0]
    np.testing.assert_array_equal(points.get_offsets(), [[0.1, 1], [0.2, 2]])
    np.testing.assert_array_equal(points.get_array(), [0.5, 0.9])


def test_step_lengths_are_lines_with_their_median():
    steps = [[4, 2, 1], [12, 6, 3], [4, 2, np.nan]]  # the last diverged: left out
    figure = plots.step_lengths({"A2": steps})
    first, second, median = figure.axes[0].lines
    np.testing.assert_allclose(first.get_ydata(), [4, 2, 1])
    np.testing.assert_allclose(second.get_ydata(), [12, 6, 3])
    np.testing.assert_allclose(median.get_ydata(), [8, 4, 2])
    np.testing.assert_array_equal(median.get_xdata(), [1, 2, 3])
    assert figure.axes[0].get_yscale() == "log"


def test_trajectories_join_each_nets_epochs_in_its_colour(rng):
    xy, nets, epochs = heap(nets=11, epochs=5)
    mixed = rng.permutation(len(xy))
    figure = plots.trajectories({"A2": (xy[mixed], nets[mixed], epochs[mixed])})
    ax = figure.axes[0]
    (paths,) = lines(ax)
    np.testing.assert_array_equal(paths.get_segments(), xy.reshape(11, 5, 2))
    colours = [to_hex(c, keep_alpha=False).upper() for c in paths.get_colors()]
    assert colours == [*PALETTE, *PALETTE[:2]]
    dots, last, first = (c for c in ax.collections if c is not paths)
    np.testing.assert_array_equal(first.get_offsets(), xy[epochs == 1])
    np.testing.assert_array_equal(last.get_offsets(), xy[epochs == 5])
    assert (np.diff(dots.get_sizes()[:5]) > 0).all()


@pytest.mark.parametrize(("epochs", "pixels"), [(4, False), (400, True)])
def test_dense_paths_become_pixels(epochs, pixels):
    figure = plots.trajectories({"A2": heap(epochs=epochs)})
    assert {bool(c.get_rasterized()) for c in figure.axes[0].collections} == {pixels}
    assert (b"<image" in svg(figure)) == pixels


@pytest.mark.parametrize("size", [{"nets": 1}, {"nets": 2, "epochs": 1}])
def test_small_and_diverged_zoos_are_drawn(size):
    xy, nets, epochs = heap(**size)
    xy[0] = np.nan
    svg(plots.trajectories({"mine": (xy, nets, epochs)}))
    svg(plots.step_lengths({"mine": np.full((2, 3), np.nan)}))
    svg(plots.weight_statistics({"mine": np.full((3, 1), np.nan)}))
    svg(plots.training_curves({"mine": history(nets=1, epochs=1)}))
    svg(plots.dendrogram(*tree(nets=1)))


def tree_colours(ax):
    (branches,) = lines(ax)
    return [to_hex(c).upper() for c in branches.get_colors()]


def test_dendrogram_colours_branches_within_one_net():
    figure = plots.dendrogram(*tree(nets=7), shown=5, title="A2")
    above, below = figure.axes
    assert sorted(tree_colours(above)) == sorted([*PALETTE[:5] * 3, *[GREY] * 4])
    assert tree_colours(below) == [PALETTE[0]] * 3
    assert above.get_title("left") == "A2: 5 of 7 nets"


def test_dendrogram_leaves_misplaced_snapshots_grey():
    points, nets, epochs = heap(nets=2, epochs=6)
    points[6, 0] = 3.0  # net 1 begins among the snapshots of net 0
    figure = plots.dendrogram(single_linkage(points), nets, epochs)
    colours = tree_colours(figure.axes[0])
    assert colours.count(PALETTE[1]) == 4  # its other five
    assert GREY in colours


def test_dendrogram_labels_leaves_by_epoch_in_tree_order():
    Z, nets, epochs = tree(epochs=30)
    ax = plots.dendrogram(Z, nets, epochs).axes[1]
    shown = [int(label.get_text()) for label in ax.get_xticklabels()]
    mine = _restrict(Z, nets == 0)
    assert shown == [leaf + 1 for leaf in hierarchy.leaves_list(mine)]
    assert sorted(shown) == list(range(1, 31))


def test_dendrogram_of_a_long_chain_leaves_the_recursion_limit_alone():
    limit = sys.getrecursionlimit()
    figure = plots.dendrogram(*tree(nets=2, epochs=1500))
    assert sys.getrecursionlimit() == limit
    assert len(lines(figure.axes[1])[0].get_segments()) == 1499


def test_restricted_tree_keeps_the_distances_of_the_whole(rng):
    Z = single_linkage(rng.normal(size=(40, 3)))
    kept = rng.random(40) < 0.4
    whole = squareform(hierarchy.cophenet(Z))[np.ix_(kept, kept)]
    part = _restrict(Z, kept)
    assert hierarchy.is_valid_linkage(part)
    np.testing.assert_array_equal(squareform(hierarchy.cophenet(part)), whole)


def test_order_scores_draw_each_source_that_has_numbers():
    figure = plots.order_scores(scores())
    assert len(figure.axes) == 3
    paper, ours = figure.axes[1].lines
    np.testing.assert_array_equal(paper.get_ydata(), [20, 20])
    np.testing.assert_array_equal(ours.get_ydata(), [0.5, np.nan])
    texts = [text.get_text() for text in figure.legends[0].texts]
    assert texts == ["paper", "this run"]
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == ["full space", "SVD 500"]


def test_readings_mark_the_papers_values_and_what_is_missing():
    figure = plots.readings(reading_table(), PAPER)
    accuracy, *others = figure.axes
    assert not accuracy.lines  # the paper prints none
    assert [ax.lines[0].get_xdata()[0] for ax in others] == [1.0, 20.0, 0.7]
    assert [len(ax.texts) for ax in figure.axes] == [0, 1, 1, 1]
    np.testing.assert_array_equal(
        accuracy.collections[0].get_offsets(), [[0.8, 0], [0.1, 1]]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.layout_strip({}), "no layout to draw: pass at least one"),
        (
            lambda: plots.weight_images(LAYOUTS["A1"], [0.0], "fc9.weight", (2, 2)),
            "no tensor 'fc9.weight'.*choose one of .'fc1.weight'",
        ),
        (
            lambda: plots.weight_images(LAYOUTS["A1"], [0.0], "fc1.weight", (2, 2)),
            r"vector of shape \[1\].*pass one of 2160 weights",
        ),
        (
            lambda: plots.weight_images(
                LAYOUTS["A1"], np.zeros(2160), "fc1.weight", (13, 13)
            ),
            "1960 weights of 'fc1.weight' do not divide into images of 13 x 13",
        ),
        (lambda: plots.distance_histograms({}), "no distances to draw"),
        (
            lambda: plots.distance_histograms({"a": [np.nan]}),
            "'a' has no finite distances: leave it out",
        ),
        (lambda: plots.training_curves({}), "no history to draw"),
        (
            lambda: plots.training_curves({"A2": history().drop(columns="loss")}),
            "history of 'A2' has no column 'loss'",
        ),
        (lambda: plots.weight_statistics({}), "no zoo to draw"),
        (
            lambda: plots.weight_statistics({"A2": ([1], [1, 2], [1])}),
            "'A2' has 1 means, 2 deviations, 1 accuracies: pass one of each",
        ),
        (
            lambda: plots.step_lengths({"A2": np.zeros((3, 0))}),
            r"'A2' have shape \[3, 0\].*at least one step",
        ),
        (
            lambda: plots.trajectories({"A2": (np.zeros((3, 2)), [0, 0, 0], [1, 2])}),
            "'A2' has 3 points, 3 nets, 2 epochs",
        ),
        (
            lambda: plots.dendrogram(*heap()[:1], [0], [1]),
            "'dendrogram' has 13 points, 1 nets, 1 epochs",
        ),
        (
            lambda: plots.dendrogram(*tree(epochs=1)),
            "net 0 has one snapshot.*keep at least two epochs",
        ),
        (lambda: plots.order_scores({}), "no zoo to draw"),
        (
            lambda: plots.readings(reading_table().drop(columns="purity"), PAPER),
            r"lacks \['purity'\]: pass one row a reading",
        ),
        (lambda: plots.readings(reading_table()[:0], PAPER), "has 0 rows"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    assert not plt.get_fignums()
