"""Notice from weights alone that the training data have changed.

A detector sees the checkpoints of one net, in order, and scores every step between
two of them: the higher, the less like the steps before. The scores of
:func:`own_past` need that net only; :func:`deviations` are for detectors that also
know how other nets move, see :mod:`nwslib.detection`, which measures them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.flatten import Layout
from nwslib.monitor import AlarmRules, rule_scores
from nwslib.outliers import trailing_score
from nwslib.trajectory import path_geometry

#: Steps that a new one is compared with to see what in it is new.
MEMORY = 8


@dataclass(frozen=True)
class Movement:
    """What is measured of each step between checkpoints; NaN where undefined.

    Attributes
    ----------
    step : ndarray, shape [..., steps]
        Length.
    turning : ndarray, shape [..., steps]
        Angle to the step before, in radians.
    layer_step : ndarray, shape [..., layers, steps]
        Length within each layer.
    pull : ndarray, shape [..., steps]
        Angle to the weights that the step starts from, in radians: below pi / 2 it
        makes them longer, above shorter.
    novelty : ndarray, shape [..., steps]
        Angle to the space spanned by the :data:`MEMORY` steps before, in radians: 0
        where a step repeats what was done, pi / 2 where all of it is new.
    """

    step: NDArray
    turning: NDArray
    layer_step: NDArray
    pull: NDArray
    novelty: NDArray


def movement(path: ArrayLike, layout: Layout) -> Movement:
    """Measure the steps of paths.

    Parameters
    ----------
    path : array_like, shape [models, checkpoints, layout.size]
    layout : Layout

    Raises
    ------
    ValueError
        If the paths do not fit the layout or have a single checkpoint.
    """
    path = np.asarray(path)
    if path.ndim != 3 or path.shape[-1] != layout.size or path.shape[1] < 2:
        raise ValueError(
            f"paths of shape {list(path.shape)} cannot be measured: pass [models, "
            f"checkpoints, {layout.size}] with at least two checkpoints."
        )
    layers = [layout.select(layer=name).numpy() for name in layout.layers]
    # float64: one at a time
    measured = [_measure(one.astype(np.float64), layers) for one in path]
    return Movement(*(np.stack(each) for each in zip(*measured, strict=True)))


def _measure(path: NDArray, layers: Sequence[NDArray]) -> tuple[NDArray, ...]:
    """Fields of :class:`Movement` for one path [checkpoints, weights]."""
    shape = path_geometry(path)
    moves = np.diff(path, axis=0)
    inner = moves @ moves.T  # [steps, steps]
    novelty = np.full(len(moves), np.nan)
    late = np.arange(MEMORY, len(moves))
    past = late[:, None] + np.arange(-MEMORY, 0)  # [late, MEMORY]: numbers of steps
    spanned = np.linalg.pinv(inner[past[:, :, None], past[:, None]], hermitian=True)
    shared = inner[late[:, None], past]  # [late, MEMORY]
    square = np.einsum("ij,ijk,ik->i", shared, spanned, shared)  # of the known part
    with np.errstate(invalid="ignore", divide="ignore"):  # no step, no angle
        known = np.sqrt(np.maximum(square, 0)) / shape.step[late]
        novelty[late] = np.arccos(np.minimum(known, 1))
        radial = np.einsum("ij,ij->i", moves, path[:-1]) / shape.step
        pull = np.arccos(np.clip(radial / np.linalg.norm(path[:-1], axis=1), -1, 1))
    return (
        shape.step,
        np.concatenate([[np.nan], shape.turning]),
        np.stack([np.linalg.norm(moves[:, layer], axis=1) for layer in layers]),
        pull,
        novelty,
    )


def own_past(moved: Movement, rules: AlarmRules | None = None) -> dict[str, NDArray]:
    """Score every step against the same net's steps before it.

    Parameters
    ----------
    moved : Movement
    rules : AlarmRules, optional
        Of the live monitor; its window and floor are used.

    Returns
    -------
    dict of str to ndarray, shapes [..., steps]
        Robust deviations, NaN while too little is known: ``jump``, ``turn`` and
        ``balance`` as :func:`nwslib.monitor.rule_scores`; ``pull``, in either
        direction; ``novelty``, upwards.
    """
    rules = rules or AlarmRules()
    window = {"window": rules.window, "least": rules.least, "floor": rules.floor}
    return {
        **rule_scores(moved.step, moved.turning, moved.layer_step, rules),
        "pull": np.abs(trailing_score(moved.pull, **window)),
        "novelty": trailing_score(moved.novelty, **window),
    }


def confirmed_jump(scores: Mapping[str, NDArray]) -> NDArray:
    """Score steps that are longer than usual and also of another kind.

    A higher learning rate lengthens the step and leaves most else alone; other data
    lead elsewhere.

    Parameters
    ----------
    scores : mapping of str to ndarray, shapes [..., steps]
        As from :func:`own_past`.

    Returns
    -------
    ndarray, shape [..., steps]
        The lower of two: ``jump``, and the highest of ``balance``, ``pull``,
        ``novelty`` and ``turn``, the last in either direction. NaN where one of the
        two is unknown.
    """
    others = {name: scores[name] for name in ("balance", "pull", "novelty")}
    others["turn"] = np.abs(scores["turn"])
    return np.minimum(scores["jump"], highest(others))


def accuracy_drop(accuracy: ArrayLike, rules: AlarmRules | None = None) -> NDArray:
    """Score every step by how far the accuracy fell, against the same net's past.

    What a detector could do that has labelled, unchanged data at hand.

    Parameters
    ----------
    accuracy : array_like, shape [..., checkpoints]
        As a share.
    rules : AlarmRules, optional
        Its window is used.

    Returns
    -------
    ndarray, shape [..., steps]
        Robust deviations downwards, at the checkpoint where each step ends.
    """
    rules = rules or AlarmRules()
    return trailing_score(
        -np.asarray(accuracy)[..., 1:],
        window=rules.window, least=rules.least, floor=0.001,
    )  # fmt: skip


def highest(scores: Mapping[str, NDArray]) -> NDArray:
    """Of several scores the highest that is known, [..., steps]."""
    return np.fmax.reduce(list(scores.values()))


def deviations(moved: Movement, window: int = 20) -> NDArray:
    """How far every step is from the net's own recent past, signal by signal.

    Returns
    -------
    ndarray, shape [..., steps, signals]
        Differences from the median of at most ``window`` steps before: of log step
        length, turning angle, pull, novelty and each layer's log share of the
        length. NaN where nothing is known before.
    """
    length = np.log(moved.step)
    shares = np.log(moved.layer_step) - length[..., None, :]
    signals = np.concatenate(
        [
            np.stack([length, moved.turning, moved.pull, moved.novelty], -2),
            shares,
        ],
        -2,
    )  # [..., signals, steps]
    result = np.full_like(signals, np.nan)
    # novelty is the last to be known; one more step, and it has a past
    for i in range(MEMORY + 1, signals.shape[-1]):
        past = signals[..., max(0, i - window) : i]
        result[..., i] = signals[..., i] - np.nanmedian(past, -1)
    return np.moveaxis(result, -2, -1)
