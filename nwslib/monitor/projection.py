"""A net's weights seen through a few random combinations of each tensor.

Three vectors as long as the net may be too much to keep beside a large one. Random
combinations keep lengths and angles nearly (Johnson & Lindenstrauss 1984), even if
each adds up only the square root of all weights (very sparse random projections,
Li, Hastie & Church 2006).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nwslib.flatten import Layout
from nwslib.trajectory.follower import CPU_CHUNK


class SparseProjection:
    """Map each tensor of d weights to k numbers, tensors of at most k to themselves.

    Blocks do not mix, so that every layer and kind keeps a geometry of its own and
    the whole net's is made of theirs. Number i of a tensor x is

        y_i = c (s_i1 x_r(i1) + ... + s_im x_r(im)),  m = ceil(sqrt(d)),

    with places r drawn uniformly (with replacement), signs s and c^2 = d / (m k).
    Then ``|y|^2`` has mean ``|x|^2`` and, with the kurtosis q of x's entries about 0,
    the relative variance (2 + (q - 3) / m) / k: for entries of like size, lengths are
    off by 1 / sqrt(2 k) (standard deviation), 4 % for k = 256. The draw is fixed, so
    are the errors for one direction of movement.

    Parameters
    ----------
    layout : Layout
        Of the net.
    k : int
        Numbers kept of each tensor.
    seed : int
        Of the draw.

    Attributes
    ----------
    layout : Layout
        Of the projected net: the same names and kinds, at most k weights each.

    Notes
    -----
    Memory is about 5 k sqrt(d) bytes a tensor. Only the drawn weights are read, where
    they are; k numbers a tensor leave the device.

    scikit-learn's ``SparseRandomProjection`` draws without replacement, row by row: its
    variance is nearly the same, the draw takes seconds in place of milliseconds.
    """

    def __init__(self, layout: Layout, k: int, seed: int = 0) -> None:
        self._draws = [
            _draw(piece.size, k, np.random.default_rng([seed, i]))
            if piece.size > k
            else None
            for i, piece in enumerate(layout)
        ]
        rows = layout.to_json()
        for row, piece in zip(rows, layout, strict=True):
            row |= {"shape": [min(piece.size, k)], "dtype": "float32"}
        self.layout = Layout.from_json(rows)
        self._scales = [
            math.sqrt(piece.size / (draw[0].shape[1] * k)) if draw else 1.0
            for piece, draw in zip(layout, self._draws, strict=True)
        ]

    def digest(self) -> str:
        """Name of the draw, the same on every machine that draws the same."""
        text = hashlib.sha256()
        for draw in filter(None, self._draws):
            for part in draw:
                text.update(part.cpu().numpy().tobytes())
        return text.hexdigest()[:16]

    def __call__(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Project a net of the layout.

        Parameters
        ----------
        weights : mapping of str to Tensor
            A tensor for each of the layout's names.

        Returns
        -------
        dict of str to Tensor, shapes [min(size, k)]
            On the CPU, in float32 or, where the weights have it, float64.
        """
        projected = []
        for i, name in enumerate(piece.name for piece in self.layout):
            flat = weights[name].reshape(-1)
            if self._draws[i] is not None:
                # once, and again when the net has moved
                index, sign = self._draws[i] = [
                    t.to(flat.device) for t in self._draws[i]
                ]
                flat = _combine(flat, index, sign) * self._scales[i]
            projected.append(flat.to(torch.promote_types(flat.dtype, torch.float32)))
        home = projected[0].device
        point = torch.cat([p.to(home) for p in projected]).cpu()  # one copy
        return self.layout.unflatten(point)


def _draw(d: int, k: int, rng: np.random.Generator) -> list[Tensor]:
    """Places and signs, each [k, ceil(sqrt(d))]; places in order, for the cache."""
    m = math.isqrt(d - 1) + 1
    index = rng.integers(d, size=(k, m), dtype=np.int32 if d < 2**31 else np.int64)
    index.sort(axis=1)
    sign = 1 - 2 * rng.integers(2, size=(k, m), dtype=np.int8)
    return [torch.from_numpy(index), torch.from_numpy(sign)]


def _combine(flat: Tensor, index: Tensor, sign: Tensor) -> Tensor:
    """Signed sums of drawn weights, [k]."""
    k, m = index.shape
    rows = max(CPU_CHUNK // m, 1) if flat.device.type == "cpu" else k
    sums = []
    for some, signs in zip(index.split(rows), sign.split(rows), strict=True):
        drawn = flat.index_select(0, some.reshape(-1)).view(some.shape)  # [rows, m]
        drawn = drawn.to(torch.promote_types(flat.dtype, torch.float32))
        sums.append((drawn * signs).sum(dim=1))
    return torch.cat(sums)
