"""Every figure of the book, one function each.

Each function takes arrays or tables, draws on white at the width of a page's
column and returns the figure. Nets keep their colour from figure to figure;
where a figure shows zoos, they stand in the order given.
"""

from nwslib.plots.order import dendrogram, order_scores
from nwslib.plots.paths import step_lengths, trajectories
from nwslib.plots.speed import growth, speed_ratios
from nwslib.plots.style import use_book_style
from nwslib.plots.training import readings, training_curves, weight_statistics
from nwslib.plots.weights import distance_histograms, layout_strip, weight_images

__all__ = [
    "dendrogram",
    "distance_histograms",
    "growth",
    "layout_strip",
    "order_scores",
    "readings",
    "speed_ratios",
    "step_lengths",
    "training_curves",
    "trajectories",
    "use_book_style",
    "weight_images",
    "weight_statistics",
]
