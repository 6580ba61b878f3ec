"""The shape of a net's path through weight space: lengths, turns, dimension.

Schuerholt & Borth (arXiv 2006.10424) expect "curvature and smoothness of the
trajectories as well as step length" to tell the state of training, and define none
of them. The definitions here are those of movement ecology and discrete differential
geometry, where paths known at a few points are measured every day.

:func:`path_geometry` measures a finished path, :class:`PathFollower` one that is
still growing, a snapshot at a time and in the memory of three weight vectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

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
    turning = _angle(step[:-1], step[1:], np.einsum("ij,ij->i", moves[:-1], moves[1:]))
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


def _angle(a: NDArray, b: NDArray, inner: NDArray) -> NDArray:
    """Angle between vectors of lengths a and b with an inner product, or NaN.

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
        If the path does not fit the layout, or as :func:`path_geometry`.
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


@dataclass(frozen=True)
class Position:
    """Where a followed path is: the newest entries of :class:`PathGeometry`.

    Attributes
    ----------
    step : float
        Length of the step that led here.
    travelled, from_start : float
    turning, curvature : float
        At the snapshot before this one, where the newest step begins.
    smoothness, straightness : float
        Of the path so far.
    """

    step: float
    travelled: float
    from_start: float
    turning: float
    curvature: float
    smoothness: float
    straightness: float


class PathFollower:
    """Measure a path while it grows.

    Equal to :func:`geometry_by_group` of all snapshots so far, to the rounding of
    the weights' own type. The distance to the end and the dimension need all
    snapshots: a follower does not have them.

    Parameters
    ----------
    layout : Layout

    Notes
    -----
    Keeps three weight vectors (the first, the last, the last step), on the device of
    the first snapshot, whatever the length of the path.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.groups = groups(layout)
        self._members = np.zeros((len(self.groups), len(layout.slices)))
        for row, members in zip(self._members, self.groups.values(), strict=True):
            row[list(members)] = 1
        self._start: list[Tensor] = []
        self._last: list[Tensor] = []
        self._move: list[Tensor] = []  # of the last step
        self._step = np.full(len(self.groups), np.nan)
        self._travelled = np.zeros(len(self.groups))
        self._cosines = np.zeros((2, len(self.groups)))  # sum and number

    def add(
        self, net: nn.Module | Mapping[str, Tensor] | Tensor
    ) -> dict[str, Position]:
        """Go on to the next snapshot.

        Parameters
        ----------
        net : Module, state_dict or Tensor [layout.size]

        Returns
        -------
        dict of str to Position
            Keys as in :func:`groups`.

        Raises
        ------
        ValueError
            If the net does not fit the layout.
        """
        with torch.no_grad():
            pieces = self._layout.pieces(net)
            pieces = [p.reshape(-1).to(torch.promote_types(p.dtype, torch.float32))
                      for p in pieces]  # fmt: skip
            if self._start:
                self._take(self._sums(pieces))
            else:
                self._start = [piece.clone() for piece in pieces]
                self._last = [piece.clone() for piece in pieces]
                self._move = [torch.zeros_like(piece) for piece in pieces]
                self._take(np.zeros((len(self.groups), 3)), first=True)
        return self._positions

    def _sums(self, pieces: list[Tensor]) -> NDArray:
        """Move on; |step|^2, step . step before, |from start|^2, [groups, 3]."""
        sums = []
        for piece, start, last, move in zip(
            pieces, self._start, self._last, self._move, strict=True
        ):
            new = piece - last
            sums += [new.dot(new), new.dot(move)]
            move.copy_(new)
            last.copy_(piece)
            torch.sub(piece, start, out=new)
            sums.append(new.dot(new))
        # one copy from the device; float64, in which groups are summed
        by_slice = torch.stack([s.double() for s in sums]).cpu().numpy().reshape(-1, 3)
        return self._members @ by_slice

    def _take(self, sums: NDArray, first: bool = False) -> None:
        """Turn sums into positions."""
        before, step = self._step, np.sqrt(sums[:, 0])
        self._step = np.full_like(step, np.nan) if first else step
        self._travelled += step
        from_start = np.sqrt(sums[:, 2])
        # before is NaN up to the second step, and so is the angle
        turning = _angle(before, self._step, sums[:, 1])
        defined = ~np.isnan(turning)
        self._cosines[:, defined] += [np.cos(turning[defined]), np.ones(defined.sum())]
        with np.errstate(invalid="ignore"):  # 0 / 0: undefined so far
            smoothness = self._cosines[0] / self._cosines[1]
            straightness = from_start / self._travelled
            curvature = turning / ((before + self._step) / 2)
        columns = (
            self._step, self._travelled, from_start, turning, curvature, smoothness,
            straightness,
        )  # fmt: skip
        rows = np.stack(columns, axis=1).tolist()
        self._positions = {
            name: Position(*row) for name, row in zip(self.groups, rows, strict=True)
        }
