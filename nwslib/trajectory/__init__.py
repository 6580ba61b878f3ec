"""Measures of a net's path through weight space.

:mod:`~nwslib.trajectory.geometry` is the shape of a path whose order is known,
:mod:`~nwslib.trajectory.follower` of one that is still growing;
:mod:`~nwslib.trajectory.epochs` is the paper's order of epochs, and how far an order
is right; :mod:`~nwslib.trajectory.seriation` finds better ones, and
:mod:`~nwslib.trajectory.trials` measures by how much.
"""

from nwslib.trajectory.epochs import (
    Assignment,
    EpochOrder,
    Order,
    assign,
    epoch_order,
    order,
)
from nwslib.trajectory.follower import PathFollower, Position
from nwslib.trajectory.geometry import (
    PathGeometry,
    geometry_by_group,
    groups,
    path_geometry,
)
from nwslib.trajectory.seriation import (
    direction_confidence,
    link_confidence,
    seriate,
)

__all__ = [
    "Assignment",
    "EpochOrder",
    "Order",
    "PathFollower",
    "PathGeometry",
    "Position",
    "assign",
    "direction_confidence",
    "epoch_order",
    "geometry_by_group",
    "groups",
    "link_confidence",
    "order",
    "path_geometry",
    "seriate",
]
