"""Measures of a net's path through weight space.

:mod:`~nwslib.trajectory.geometry` is the shape of a path whose order is known;
:mod:`~nwslib.trajectory.epochs` is the order of epochs found without labels.
"""

from nwslib.trajectory.epochs import (
    Assignment,
    EpochOrder,
    Order,
    assign,
    epoch_order,
    order,
)
from nwslib.trajectory.geometry import (
    PathFollower,
    PathGeometry,
    Position,
    geometry_by_group,
    groups,
    path_geometry,
)

__all__ = [
    "Assignment",
    "EpochOrder",
    "Order",
    "PathFollower",
    "PathGeometry",
    "Position",
    "assign",
    "epoch_order",
    "geometry_by_group",
    "groups",
    "order",
    "path_geometry",
]
