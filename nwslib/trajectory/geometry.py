"""The shape of a net's path through weight space: lengths, turns, dimension.

Schuerholt & Borth (arXiv 2006.10424) expect "curvature and smoothness of the
trajectories as well as step length" to tell the state of training, and define none
of them. The definitions here are those of movement ecology and discrete differential
geometry, where paths known at a few points are measured every day.

:func:`.path_geometry` measures a finished path;
:class:`nwslib.trajectory.PathFollower` one that is still growing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.flatten import Layout


@dataclass(frozen=True)
class PathGeometry:
    """Measures of paths w_0 ... w_{n-1} of n snapshots; NaN where undefined.

    Lengths are Euclidean, in the unit of the weights; angles are in radians.

    Attributes
    ----------
    step : ndarray, shape [..., n - 1]
        ``step[i]`` is the distance from w_i to w_{i+1}.
    travelled : ndarray, shape [..., n]
        Length of the path up to each snapshot.
    from_start, to_end : ndarray, shape [..., n]
        Distance of each snapshot to the first and to the last.
    turning : ndarray, shape [..., n - 2]
        ``turning[i]`` is the angle between the steps into and out of w_{i+1}: 0
        straight on, pi / 2 at random (in many dimensions), pi back. Undefined next
        to a step of length zero.
    curvature : ndarray, shape [..., n - 2]
        Turning angle over the mean length of its two steps, the discrete curvature
        of a polygon (Crane & Wardetzky 2017); radians per unit of weight.
    smoothness : ndarray, shape [...]
        Mean cosine of the turning angles (Benhamou 2004): 1 straight, 0 a random
        walk, negative where steps undo each other. Undefined angles are left out.
    straightness : ndarray, shape [...]
        Distance from start to end over the length of the path, in [0, 1]
        (Batschelet 1981).
    dimension : ndarray, shape [...]
        Participation ratio of the snapshots' covariance, (sum of eigenvalues)^2 /
        sum of squares (Gao et al. 2017): 1 on a line, about 2.5 for a long random
        walk in many dimensions, n - 1 for n unrelated points.
    """

    step: NDArray
    travelled: NDArray
    from_start: NDArray
    to_end: NDArray
    turning: NDArray
    curvature: NDArray
    smoothness: NDArray
    straightness: NDArray
    dimension: NDArray


def path_geometry(path: ArrayLike) -> PathGeometry:
    """Measure paths whose snapshots are known and in order.

    Parameters
    ----------
    path : array_like, shape [..., n, d]
        n snapshots of d weights, first to last; any leading dimensions, for
        example nets. Sums are formed in float64.

    Returns
    -------
    PathGeometry

    Raises
    ------
    ValueError
        If there is no snapshot, no weight, or no axis for them.

    Examples
    --------
    A step of 3 to the east, then one of 4 to the north.

    >>> shape = path_geometry([[0, 0], [3, 0], [3, 4]])
    >>> shape.step, shape.straightness, shape.turning / np.pi
    (array([3., 4.]), array(0.71428571), array([0.5]))
    """
    path = np.asarray(path)
    if path.ndim < 2 or not all(path.shape[-2:]):
        raise ValueError(
            f"a path of shape {list(path.shape)} cannot be measured: pass [..., "
            "snapshots, weights] with at least one of each."
        )
    lead = path.shape[:-2]
    # one at a time: a zoo in float64 takes twice its memory
    measured = [_measure(path[index].astype(np.float64)) for index in np.ndindex(lead)]
    stacked = {
        field.name: np.array([getattr(one, field.name) for one in measured])
        for field in fields(PathGeometry)
    }
    return PathGeometry(
        **{
            name: value.reshape(lead + value.shape[1:])
            for name, value in stacked.items()
        }
    )


def _measure(path: NDArray) -> PathGeometry:
    """Geometry of one path [n, d] in float64."""
    moves = np.diff(path, axis=0)  # [n - 1, d]
    step = np.linalg.norm(moves, axis=1)
    turning = angle_between(
        step[:-1], step[1:], np.einsum("ij,ij->i", moves[:-1], moves[1:])
    )
    travelled = np.concatenate([[0.0], np.cumsum(step)])
    from_start = np.linalg.norm(path - path[0], axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0: a path that never moved
        straightness = np.divide(from_start[-1], travelled[-1])
    return PathGeometry(
        step=step,
        travelled=travelled,
        from_start=from_start,
        to_end=np.linalg.norm(path - path[-1], axis=1),
        turning=turning,
        curvature=turning / ((step[:-1] + step[1:]) / 2),
        smoothness=_mean_cosine(turning),
        straightness=straightness,
        dimension=_participation_ratio(path),
    )


def angle_between(a: NDArray, b: NDArray, inner: NDArray) -> NDArray:
    """Angle between vectors of lengths a and b, from their inner product; or NaN.

    By arctangent, because the arccosine loses half the digits of small angles.
    """
    product = a * b
    sine = np.sqrt(np.maximum((product - inner) * (product + inner), 0))
    return np.where(product > 0, np.arctan2(sine, inner), np.nan)


def _mean_cosine(turning: NDArray) -> float:
    defined = turning[~np.isnan(turning)]
    return float(np.cos(defined).mean()) if len(defined) else math.nan


def _participation_ratio(path: NDArray) -> float:
    centred = path - path.mean(axis=0)
    gram = centred @ centred.T  # [n, n], the covariance's eigenvalues
    squares = (gram**2).sum()
    return float(np.trace(gram) ** 2 / squares) if squares > 0 else math.nan


def groups(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Name the parts of a net that have a geometry of their own.

    Returns
    -------
    dict
        ``"whole"``, ``"layer:NAME"`` for each layer and ``"kind:NAME"`` for each
        kind, with the indices of their slices in the layout.
    """
    named = {"whole": tuple(range(len(layout.slices)))}
    for word, names in (("layer", layout.layers), ("kind", layout.kinds)):
        for name in names:
            named[f"{word}:{name}"] = tuple(
                i for i, piece in enumerate(layout) if getattr(piece, word) == name
            )
    return named


def geometry_by_group(path: ArrayLike, layout: Layout) -> dict[str, PathGeometry]:
    """Measure the whole path and its projections on every layer and kind.

    Parameters
    ----------
    path : array_like, shape [..., n, layout.size]
    layout : Layout

    Returns
    -------
    dict of str to PathGeometry
        Keys as in :func:`groups`.

    Raises
    ------
    ValueError
        If the path does not fit the layout, or as :func:`.path_geometry`.
    """
    path = np.asarray(path)
    if path.shape[-1:] != (layout.size,):
        raise ValueError(
            f"a path of shape {list(path.shape)} does not fit this layout: its last "
            f"dimension must be {layout.size}."
        )
    pieces = layout.slices
    return {
        name: path_geometry(
            np.concatenate(
                [path[..., pieces[i].start : pieces[i].stop] for i in members], axis=-1
            )
        )
        for name, members in groups(layout).items()
    }
