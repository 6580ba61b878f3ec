"""Checkpoints that are another one, exactly or in fewer bits.

A copy is told from a neighbour on the path by rounding the supposed original again:
it has to give the copy. Distances only say which originals to try.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nwslib.lineage import levels
from nwslib.lineage.space import distances
from nwslib.lineage.survey import Checkpoint, compared

#: Reads the tensors of a checkpoint by its path.
Reader = Callable[[str], Mapping[str, Tensor]]

_KINDS = {32: "single-precision copy", 16: "half-precision copy"}
_QUANTISED = "quantised copy"
#: Originals tried for each suspected copy, nearest first.
_TRIES = 8
#: Largest error of rounding, as a share of the original's deviation: 16 bits err by
#: less than 0.01, 4 bits by about 0.1; what is further away has been trained.
_LARGEST_ERROR = 0.3
#: Least share of weights that have to be what rounding makes of the original's: all
#: but those beyond a range that was cut.
_AGREEING = 0.99


@dataclass(frozen=True)
class Copy:
    """What a checkpoint is a copy of.

    Attributes
    ----------
    original : int
        Index of the checkpoint that was copied, which may be a copy too.
    kind : str
        ``duplicate``, ``single-precision copy`` (of float64), ``half-precision
        copy`` (float16 or bfloat16) or ``quantised copy`` (8 bits or fewer).
    distance : float
        Between the two, in the unit of the weights.
    """

    original: int
    kind: str
    distance: float


def find_copies(
    seen: Sequence[Checkpoint], points: NDArray, read: Reader
) -> dict[int, Copy]:
    """Find copies among checkpoints of one architecture.

    Parameters
    ----------
    seen : sequence of Checkpoint
    points : ndarray, shape [len(seen), d]
        Where they lie; distances are those of the weights.
    read : callable
        Called for suspected copies and their nearest possible originals.

    Returns
    -------
    dict of int to Copy
        Index of each copy -> what it is a copy of.
    """
    copies: dict[int, Copy] = {}
    first: dict[bytes, int] = {}
    for k, checkpoint in enumerate(seen):
        original = first.setdefault(checkpoint.identity, k)
        if original != k:
            copies[k] = Copy(original, "duplicate", 0.0)
    distinct = list(first.values())

    by_bits: dict[tuple[int, ...], list[int]] = {}
    for k in distinct:
        by_bits.setdefault(seen[k].bits, []).append(k)
    for bits, suspects in by_bits.items():
        wider = [k for b in by_bits if _is_wider(b, bits) for k in by_bits[b]]
        kind = _KINDS.get(min(bits), _QUANTISED)
        copies |= _matched(seen, points, suspects, wider, kind, _rounded, read)

    left = [k for k in distinct if k not in copies]
    suspects = [k for k in left if seen[k].on_levels]
    exact = [k for k in left if not seen[k].on_levels]
    return copies | _matched(
        seen, points, suspects, exact, _QUANTISED, _quantised, read
    )


def _matched(
    seen: Sequence[Checkpoint],
    points: NDArray,
    suspects: Sequence[int],
    originals: Sequence[int],
    kind: str,
    agreement: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], float],
    read: Reader,
) -> dict[int, Copy]:
    """Those suspects that are a copy of one of the originals."""
    if not suspects or not originals:
        return {}
    found = {}
    D = distances(points[suspects], points[originals])
    for suspect, row in zip(suspects, D, strict=True):
        nearest = np.argsort(row, kind="stable")[:_TRIES]
        near = [k for k in nearest if row[k] <= _largest_error(seen[originals[k]])]
        mine = compared(read(seen[suspect].path)) if near else {}
        most, best = _AGREEING, None
        for k in near:
            agreeing = agreement(mine, compared(read(seen[originals[k]].path)))
            if agreeing >= most and (best is None or agreeing > most):
                most, best = agreeing, k
            if most == 1:
                break
        if best is not None:
            found[suspect] = Copy(originals[best], kind, float(row[best]))
    return found


def _largest_error(original: Checkpoint) -> float:
    return _LARGEST_ERROR * float(original.energies.sum()) ** 0.5


def _is_wider(bits: tuple[int, ...], than: tuple[int, ...]) -> bool:
    """Whether no tensor has fewer bits, and some have more."""
    return bits != than and all(b >= t for b, t in zip(bits, than, strict=True))


def _rounded(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """1 if one is the other converted to its own number types, else 0."""
    return float(all((theirs[n].to(t.dtype) == t).all() for n, t in mine.items()))


def _quantised(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Share of weights on few levels that are the other's, rounded to these."""
    return levels.agreement(mine.values(), theirs.values())
