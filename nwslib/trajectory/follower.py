"""The shape of a path that is still growing, a snapshot at a time.

:class:`PathFollower` gives the numbers of :mod:`nwslib.trajectory.geometry` in the
memory of three weight vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nwslib.flatten import Layout
from nwslib.trajectory.geometry import angle_between, groups


@dataclass(frozen=True)
class Position:
    """Where a followed path is, in the terms of a path's geometry.

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


#: Weights taken at once. On the CPU few enough for its cache, and fewer than PyTorch
#: deals out to several threads (32768): those would wait for each other a thousand
#: times where data loaders keep the cores busy.
CPU_CHUNK = 32_000
_CHUNK = 1 << 24

_VECTORS = ("_start", "_last", "_move")
_RECORDS = ("_step", "_travelled", "_cosines")


class PathFollower:
    """Measure a path while it grows.

    Equal to :func:`~nwslib.trajectory.geometry_by_group` of all snapshots so far,
    to the rounding of the weights' own type. The distance to the end and the
    dimension need all snapshots: a follower does not have them.

    Parameters
    ----------
    layout : Layout

    Notes
    -----
    Keeps three weight vectors (the first, the last, the last step), on the net's
    device, whatever the length of the path. The net may move to another device or
    type between two snapshots.
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
            Keys as in :func:`~nwslib.trajectory.groups`.

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

    def state_dict(self) -> dict[str, list]:
        """Copies on the CPU, in types that ``torch.load(weights_only=True)`` reads."""
        vectors = {
            name: [t.detach().to("cpu", copy=True) for t in getattr(self, name)]
            for name in _VECTORS
        }
        return vectors | {name: getattr(self, name).tolist() for name in _RECORDS}

    def load_state_dict(self, state: Mapping[str, list]) -> None:
        """Go on from :meth:`state_dict`."""
        for name in _VECTORS:
            setattr(self, name, [t.clone() for t in state[name]])
        for name in _RECORDS:
            setattr(self, name, np.array(state[name], dtype=float))

    def _sums(self, pieces: list[Tensor]) -> NDArray:
        """Move on; |step|^2, step . step before, |from start|^2, [groups, 3]."""
        for name in _VECTORS:  # nothing to do unless the net moved
            mine = getattr(self, name)
            setattr(self, name, [t.to(p) for t, p in zip(mine, pieces, strict=True)])
        sums, counts = [], []
        for vectors in zip(pieces, self._start, self._last, self._move, strict=True):
            size = CPU_CHUNK if vectors[0].device.type == "cpu" else _CHUNK
            scratch = vectors[0].new_empty(2, min(size, len(vectors[0])))
            chunks = list(zip(*(v.split(size) for v in vectors), strict=True))
            for chunk in chunks:
                sums += _advance(*chunk, *scratch[:, : len(chunk[0])])
            counts.append(len(chunks))
        home = sums[0].device  # a net may be spread over several
        # one copy from the device; not all devices have float64
        parts = torch.stack([s.to(home) for s in sums]).cpu().double().view(-1, 3)
        by_slice = [part.sum(0) for part in parts.split(counts)]
        return self._members @ torch.stack(by_slice).numpy()

    def _take(self, sums: NDArray, first: bool = False) -> None:
        """Turn sums into positions."""
        before, step = self._step, np.sqrt(sums[:, 0])
        self._step = np.full_like(step, np.nan) if first else step
        self._travelled += step
        from_start = np.sqrt(sums[:, 2])
        # before is NaN up to the second step, and so is the angle
        turning = angle_between(before, self._step, sums[:, 1])
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


def _advance(
    piece: Tensor,
    start: Tensor,
    last: Tensor,
    move: Tensor,
    new: Tensor,
    product: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Move on in place; |step|^2, step . step before, |from start|^2.

    All but the results are of one size; the last two are scratch. Not by ``dot``, whose
    BLAS has threads of its own.
    """
    torch.sub(piece, last, out=new)
    step = torch.mul(new, new, out=product).sum()
    turn = torch.mul(new, move, out=product).sum()
    move.copy_(new)
    last.copy_(piece)
    torch.sub(piece, start, out=new)
    return step, turn, torch.mul(new, new, out=product).sum()
