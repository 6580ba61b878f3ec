"""Every figure of the book, one function each.

Each function takes arrays or tables, draws on white at the width of a page's
column and returns the figure. Nets keep their colour from figure to figure;
where a figure shows zoos, they stand in the order given.
"""

from nwslib.plots import _needed  # noqa: F401 - first, to say what to install
from nwslib.plots.deep import (
    accuracy_curves,
    grouped_accuracies,
    performance_maps,
)
from nwslib.plots.drift import (
    auc_map,
    changed_images,
    dose_response,
    movement_around_change,
    roc_curves,
)
from nwslib.plots.lineage import calibration, lineage_pictures, lineage_tree
from nwslib.plots.map import weight_map
from nwslib.plots.meta import (
    confusions,
    feature_importance,
    meta_accuracies,
    reliability,
    statistic_importance,
)
from nwslib.plots.monitoring import (
    correlations,
    forecasts,
    monitor_log,
    path_shapes,
    skill_bars,
    stopping,
)
from nwslib.plots.order import dendrogram, order_scores
from nwslib.plots.paths import step_lengths, trajectories
from nwslib.plots.regressed import regression_coefficients, regression_errors
from nwslib.plots.sampled import (
    accuracy_modes,
    accuracy_progress,
    model_sizes,
    pair_maps,
)
from nwslib.plots.speed import growth, speed_ratios
from nwslib.plots.style import use_book_style
from nwslib.plots.training import readings, training_curves, weight_statistics
from nwslib.plots.weights import distance_histograms, layout_strip, weight_images

__all__ = [
    "accuracy_curves",
    "accuracy_modes",
    "accuracy_progress",
    "auc_map",
    "calibration",
    "changed_images",
    "confusions",
    "correlations",
    "dendrogram",
    "distance_histograms",
    "dose_response",
    "feature_importance",
    "forecasts",
    "grouped_accuracies",
    "growth",
    "layout_strip",
    "lineage_pictures",
    "lineage_tree",
    "meta_accuracies",
    "model_sizes",
    "monitor_log",
    "movement_around_change",
    "order_scores",
    "pair_maps",
    "path_shapes",
    "performance_maps",
    "readings",
    "regression_coefficients",
    "regression_errors",
    "reliability",
    "roc_curves",
    "skill_bars",
    "speed_ratios",
    "statistic_importance",
    "step_lengths",
    "stopping",
    "training_curves",
    "trajectories",
    "use_book_style",
    "weight_images",
    "weight_map",
    "weight_statistics",
]
