"""Measures of a net's path through weight space.

:mod:`~nwslib.trajectory.geometry` is the path's shape, for known order;
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

__all__ = ["Assignment", "EpochOrder", "Order", "assign", "epoch_order", "order"]
