"""Statistics of weights: of a whole net, layer by layer, of slices of its vector.

Eilertsen et al., "Classifying the classifier" (2020), section 5.1 and supplement E.1:
eight statistics of a group of weights, and the same eight of its gradient, make 16
features. The gradient is no loss's: it is the difference of neighbours in the vector,
g[i] = theta[i + 1] - theta[i]. The paper does not say what becomes of the differences
across the border of two groups, so that is a parameter, a *reading*:

``group``
    Only neighbours within one tensor count.
``across``
    All count; a difference belongs to the tensor of theta[i].

All is computed in float64, whatever the type of the weights. Of a constant group
variance and skewness are 0. Of a group of one weight, which has no differences, the
eight features of the gradient are 0. If a weight is not finite, all 16 features of its
group are NaN; if only a difference is not (across a border), those of the gradient.

:mod:`~nwslib.features.vectors` computes them, :mod:`~nwslib.features.groups` says
which weights belong together, :mod:`~nwslib.features.tables` goes through a zoo.
"""

from nwslib.features.groups import LAYERS, PARTS, layerwise_names
from nwslib.features.statistics import STATISTICS
from nwslib.features.tables import Table, of_zoo, slices_of_zoo
from nwslib.features.vectors import GRADIENTS, layerwise, slices, whole

__all__ = [
    "GRADIENTS",
    "LAYERS",
    "PARTS",
    "STATISTICS",
    "Table",
    "layerwise",
    "layerwise_names",
    "of_zoo",
    "slices",
    "slices_of_zoo",
    "whole",
]
