"""Weights on few levels, as quantisation leaves them when it is undone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_MOST = 256  # levels of 8 bits
_LEAST = 4  # a constant or a sign says nothing about what was rounded to it
_ROW = 16  # weights that a channel needs: fewer lie on some grid by chance
_LARGE = 64  # weights that a tensor needs
_GLANCE = 1024
_OFF_GRID = 0.1  # of the distance of two levels


def on_few_levels(tensors: Iterable[Tensor]) -> bool:
    """Whether most weights lie on few levels.

    Of each tensor of two dimensions or more: at most 256 values in all of it, or in
    each channel (row) values that are whole multiples of one unit apart, at most 255
    of them. So 8-bit and 4-bit weights look, whatever rounded them, once they are
    floating-point numbers again.

    Parameters
    ----------
    tensors : iterable of Tensor

    Returns
    -------
    bool
        True if more than half of the weights lie in such tensors.
    """
    large = sorted(filter(_is_large, tensors), key=Tensor.numel, reverse=True)
    total = sum(map(Tensor.numel, large))
    on = off = 0
    for tensor in large:
        if 2 * off >= total or 2 * on > total:
            break
        if _whole(tensor) or _by_row(tensor):
            on += tensor.numel()
        else:
            off += tensor.numel()
    return 2 * on > total


def agreement(copy: Iterable[Tensor], original: Iterable[Tensor]) -> float:
    """Share of an original's weights that a copy has at the nearest of its levels.

    1 for any rounding to the nearest; a little less where a range was cut off. Only
    tensors on few levels count.

    Parameters
    ----------
    copy, original : iterable of Tensor
        The same tensors of both, in one order.

    Returns
    -------
    float
        NaN if no tensor of the copy lies on few levels.
    """
    same = total = 0
    for mine, theirs in zip(copy, original, strict=True):
        if not _is_large(mine):
            continue
        if _whole(mine):
            rows = [(mine.reshape(-1).float(), theirs.reshape(-1).float())]
        elif _by_row(mine):
            rows = zip(mine.flatten(1).float(), theirs.flatten(1).float(), strict=True)
        else:
            continue
        for rounded, exact in rows:
            found = rounded.unique()
            middles = (found[1:] + found[:-1]) / 2
            nearest = found[torch.bucketize(exact, middles)]
            same += int((nearest == rounded).sum())
            total += len(rounded)
    return same / total if total else float("nan")


def _is_large(tensor: Tensor) -> bool:
    return tensor.dim() > 1 and tensor.numel() >= _LARGE


def _whole(tensor: Tensor) -> bool:
    """Whether all of a tensor has few values."""
    found = _values(tensor.reshape(-1))
    return found is not None and (8 * len(found) <= tensor.numel() or _on_grid(found))


def _by_row(tensor: Tensor) -> bool:
    """Whether each channel of a tensor lies on a grid of its own."""
    rows = tensor.flatten(1)
    return rows.shape[1] >= _ROW and all(
        (found := _values(row)) is not None and _on_grid(found) for row in rows
    )


def _values(flat: Tensor) -> Tensor | None:
    """The distinct values, ascending; None if they are too many or too few."""
    found = flat[:_GLANCE].float().unique()  # tells most at once
    if len(found) <= _MOST and len(flat) > _GLANCE:
        found = flat.float().unique()
    return found if _LEAST <= len(found) <= _MOST else None


def _on_grid(values: Tensor) -> bool:
    """Whether ascending values are few whole multiples of one unit apart."""
    gaps = values.diff().double()
    places = (values - values[0]).double() / gaps.min()
    return bool(
        places[-1] < _MOST and ((places - places.round()).abs() < _OFF_GRID).all()
    )
