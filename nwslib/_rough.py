"""Rough distances by matrix products: proven lower bounds, a tile at a time.

The part of single linkage that grows with points^2 x weights; runs on any device.
:mod:`nwslib.clustering` has the entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class RoughPoints:
    """Points laid out for products that bound their distances from below.

    Distances here are squared and in units of ``1 / scale``. Positions number
    the rows of ``near``; the last ones, that fill up a tile, hold no point and
    are infinitely far from all.

    Parameters
    ----------
    points : ndarray, shape [n, d]
        float32 or float64, as from :func:`nwslib.reduction.check_points`.
    rows : ndarray of int64, shape [m]
        The row of ``points`` at each position.
    width : int
        Positions of a strip, a power of two; strips and tiles are filled up.
    device : str
        Where the products are computed.

    Attributes
    ----------
    rows : ndarray of int64, shape [m]
    scale : float
        Power of two that brings the points to about 1, out of reach of overflow.
    positions : int
        m, filled up.
    """

    def __init__(self, points: NDArray, rows: NDArray, width: int, device: str) -> None:
        d = points.shape[1]
        self.rows = rows
        self.device = torch.device(device)
        self._points = points
        self._tile = tile_size(device)
        # Rough distances lose digits to a common offset, so it goes first.
        self._centre = torch.from_numpy(points.mean(axis=0, dtype=np.float64))
        self._centre = self._centre.to(device)  # [d]
        exponent = np.frexp(max(points.max(), -points.min()))[1]
        self.scale = float(np.ldexp(1.0, min(-exponent, 400)))
        unit = min(width, self._tile)
        self.positions = -(-len(rows) // unit) * unit

        # The bound grows with d: float32 would say nothing past 2^24.
        dtype = torch.float32 if d < 2**20 else torch.float64
        self._near = torch.zeros(self.positions, d, dtype=dtype, device=device)
        self._squares = torch.zeros(self.positions, dtype=torch.float64, device=device)
        for start in range(0, len(rows), 1024):  # blocks: no float64 copy of all
            part = slice(start, min(start + 1024, len(rows)))
            self._near[part] = self._block(part).to(dtype)
            self._squares[part] = self._near[part].double().square().sum(dim=1)
        self._weight = self._weights(self._squares, dtype).to(dtype)
        self._weight[len(rows) :] = torch.inf

    def _block(self, positions: slice) -> Tensor:
        """Centred and scaled points in float64."""
        part = self._points[self.rows[positions]]
        block = torch.tensor(part, dtype=torch.float64, device=self.device)
        return block.sub_(self._centre).mul_(self.scale)

    def _weights(self, squares: Tensor, dtype: torch.dtype) -> Tensor:
        """Float64 ``w`` with ``w[i] + w[j] - 2 gram[i, j]`` a lower bound.

        Notes
        -----
        For rows a, b of ``near`` let e = a.a + b.b, u and v the unit roundoffs of
        dtype and float64. In whatever order the product adds,
        |gram - a.b| <= g |a||b| <= g e / 2 with g = d u / (1 - d u), hence
        |a - b|^2 >= e - 2 gram - g e. Rounding the weights and the two sums moves
        this by at most 8 u e, having rounded the rows by 4 u e, float64 sums here
        by d v e, those of the exact distance by 2 d v e; the 32 leave room for
        the few operations left. The constant covers products that underflow,
        flushed to zero or not.
        """
        d = self._points.shape[1]
        return squares * (1 - self._slack(dtype)) - d * 2.0**-120

    def _slack(self, dtype: torch.dtype) -> float:
        """What a bound lies below the distance at most, as a share of e."""
        d = self._points.shape[1]
        roundoff = (d + 32) * (torch.finfo(dtype).eps / 2 + 4 * 2.0**-53)
        return roundoff / (1 - roundoff)

    def gather(self) -> None:
        """Reorder the positions so that near points stand together.

        Every 32nd point draws those that are nearest to it; these points have
        been put in such an order themselves. For speed only.
        """
        m = len(self.rows)
        with _full_precision():
            order = self._gathered(torch.arange(m, device=self.device))
        self.rows = self.rows[order.cpu().numpy()]
        order = torch.cat([order, torch.arange(m, self.positions, device=self.device)])
        self._near = self._near[order]
        self._squares, self._weight = self._squares[order], self._weight[order]

    def _gathered(self, positions: Tensor) -> Tensor:
        if len(positions) <= 32:
            return positions
        pivots = self._gathered(positions[::32])
        near, weight = self._near[pivots], self._weight[pivots]
        drawn = torch.cat(
            [
                (weight - 2 * (self._near[part] @ near.T)).topk(2, largest=False)[1]
                for part in positions.split(1024)
            ]
        )  # [positions, 2]: the nearest, and the next for order among its points
        return positions[(drawn[:, 0] * len(pivots) + drawn[:, 1]).argsort(stable=True)]

    def tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Lower bounds on the distances of all pairs, each pair once.

        Yields
        ------
        first, second : slice
            Positions; ``second`` is ``first`` or comes after it.
        lower : Tensor of float32
            Bounds between the two; infinite from a point to itself.
        """
        starts = range(0, self.positions, self._tile)
        slices = [slice(s, min(s + self._tile, self.positions)) for s in starts]
        for k, first in enumerate(slices):
            for second in slices[k:]:
                with _full_precision():
                    lower = self._lower(first, second)
                if first == second:
                    lower.fill_diagonal_(torch.inf)
                yield first, second, lower

    def _lower(self, first: slice, second: slice) -> Tensor:
        lower = self._near[first] @ self._near[second].T
        lower = torch.add(self._weight[second], lower, alpha=-2)
        lower += self._weight[first, None]
        if lower.dtype == torch.float64:
            return _round_down(lower)
        largest = self._squares[first].max() + self._squares[second].max()
        doubtful = lower < 2 * self._slack(lower.dtype) * largest
        # From about this share on, settling each doubtful pair by its differences
        # costs more than the tile in float64.
        if 16 * doubtful.count_nonzero() > lower.numel():
            return self._lower_in_float64(first, second)
        return lower

    def _lower_in_float64(self, first: slice, second: slice) -> Tensor:
        m = len(self.rows)
        weight, near = [], []
        for part in (first, second):
            block = torch.zeros(
                part.stop - part.start, self._points.shape[1],
                dtype=torch.float64, device=self.device,
            )  # fmt: skip
            held = slice(part.start, min(part.stop, m))
            block[: held.stop - held.start] = self._block(held)
            near.append(block)
            weight.append(self._weights(block.square().sum(dim=1), torch.float64))
            weight[-1][held.stop - held.start :] = torch.inf
        lower = weight[0][:, None] + weight[1] - 2 * (near[0] @ near[1].T)
        return _round_down(lower)


def _round_down(lower: Tensor) -> Tensor:
    """Bounds as float32; negative ones, which say nothing, may grow."""
    return (lower * (1 - 2.0**-22) - 2.0**-120).float()


def tile_size(device: str) -> int:
    """Rows and columns of a tile: what fits the cache, or fills a GPU."""
    return 512 if torch.device(device).type == "cpu" else 4096


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 or bfloat16 in float32 products, whatever the caller has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def strip_bounds(rough: RoughPoints, width: int) -> NDArray[np.float32]:
    """Least bound from each point to each strip of ``width`` positions.

    Returns
    -------
    ndarray, shape [m, strips]
    """
    strips = -(-rough.positions // width)
    bounds = torch.full((rough.positions, strips), torch.inf, device=rough.device)

    def lower_to(part: slice, across: slice, least: Tensor) -> None:
        first = across.start // width
        held = bounds[part, first : first + least.shape[1]]
        torch.minimum(held, least, out=held)

    unit = min(width, tile_size(rough.device))
    for first, second, lower in rough.tiles():
        lower_to(first, second, lower.unflatten(1, (-1, unit)).amin(2))
        lower_to(second, first, lower.unflatten(0, (-1, unit)).amin(1).T)
    return bounds[: len(rough.rows)].cpu().numpy()


def near_cophenetic(
    rough: RoughPoints, gaps: NDArray[np.float64]
) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """Pairs that may be exactly as far apart as they merge high.

    Parameters
    ----------
    rough : RoughPoints
        In the order of a dendrogram's leaves.
    gaps : ndarray, shape [m - 1]
        Height at which position p merges with p + 1.

    Yields
    ------
    first, second : ndarray of int64
        Positions; nothing is said about their order.
    heights : ndarray of float64
        Cophenetic distance: at what height the two merge.
    """
    gaps = torch.from_numpy(gaps).to(rough.device)
    gaps = torch.cat([gaps, gaps.new_zeros(rough.positions - len(gaps))])
    for first, second, lower in rough.tiles():
        # Two leaves merge at the largest gap between them.
        if first == second:
            size = first.stop - first.start
            steps = gaps[first].expand(size, size).triu().roll(1, dims=1)
            steps[:, 0] = 0
            heights = steps.cummax(dim=1).values
            lower = lower.masked_fill(torch.ones_like(lower).tril() > 0, torch.inf)
        else:
            within = gaps[first].flip(0).cummax(0).values.flip(0)
            beyond = gaps[first.stop - 1 : second.stop - 1].cummax(0).values
            beyond = beyond[second.start - first.stop :]
            heights = torch.maximum(within[:, None], beyond)
        # 1e-6 for the rounding of both sides
        near = lower <= (heights * rough.scale).square_().mul_(1 + 1e-6)
        i, j = near.nonzero(as_tuple=True)
        if len(i):
            heights = heights[i, j].cpu().numpy()
            i, j = i + first.start, j + second.start
            yield i.cpu().numpy(), j.cpu().numpy(), heights
