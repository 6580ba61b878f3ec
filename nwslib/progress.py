"""What the shape of a net's path tells about how far its training has come.

:func:`traces` measures every net's path as a watcher sees it, epoch by epoch;
:func:`within` and :func:`across` relate that to the progress of training. Intervals
are percentile bootstraps over nets (Efron & Tibshirani 1993): nets are independent,
the epochs of a net are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.flatten import Layout
from nwslib.trajectory import groups, path_geometry

#: What is measured at every epoch, in the order of tables and figures.
QUANTITIES = (
    "step", "turning", "curvature", "smoothness", "straightness", "travelled",
    "from_start", "dimension",
)  # fmt: skip

#: Those with the weights' unit or its inverse; nets compare by their logarithms.
LENGTHS = ("step", "curvature", "travelled", "from_start")

#: Snapshots that the trailing dimension is taken over.
WINDOW = 5


def trace(path: ArrayLike, window: int = WINDOW) -> dict[str, NDArray]:
    """What a watcher knows of a path after each snapshot, from its past alone.

    Parameters
    ----------
    path : array_like, shape [n, d]
        Snapshots of one net, first to last.
    window : int
        Snapshots that the dimension is taken over.

    Returns
    -------
    dict of str to ndarray, shape [n]
        A key for each of :data:`QUANTITIES`, NaN where undefined. All but the last
        are what :class:`~nwslib.trajectory.Position` holds: ``turning`` and
        ``curvature`` at the snapshot before, where the newest step begins,
        ``smoothness`` and ``straightness`` of the path so far. ``dimension`` is the
        participation ratio of the last ``window`` snapshots.

    Raises
    ------
    ValueError
        If the window holds fewer than two snapshots, or as ``path_geometry``.
    """
    if window < 2:
        raise ValueError(f"a window of {window} has no dimension: give at least 2.")
    path = np.asarray(path, dtype=np.float64)
    shape = path_geometry(path)
    cosine = np.cos(shape.turning)
    with np.errstate(invalid="ignore"):  # 0 / 0: undefined so far
        values = {
            "step": shape.step,
            "turning": shape.turning,
            "curvature": shape.curvature,
            "smoothness": np.nancumsum(cosine) / np.cumsum(~np.isnan(cosine)),
            "straightness": shape.from_start / shape.travelled,
            "travelled": shape.travelled,
            "from_start": shape.from_start,
            "dimension": _dimensions(path, window),
        }
    unknown = np.full(len(path), np.nan)
    return {  # what begins late has NaN before
        name: np.concatenate([unknown, value])[-len(path) :]
        for name, value in values.items()
    }


def _dimensions(path: NDArray, window: int) -> NDArray:
    """``path_geometry(...).dimension`` of every window, [n - window + 1], at once."""
    centred = path - path.mean(axis=0)
    gram = centred @ centred.T  # [n, n]
    place = np.arange(len(path) - window + 1)[:, None] + np.arange(window)
    gram = gram[place[:, :, None], place[:, None, :]]  # [windows, window, window]
    gram = gram - gram.mean(axis=1, keepdims=True)
    gram = gram - gram.mean(axis=2, keepdims=True)  # of snapshots less their mean
    trace, squares = np.trace(gram, axis1=1, axis2=2), (gram**2).sum(axis=(1, 2))
    still = np.full(len(place), np.nan)
    return np.divide(trace**2, squares, where=squares > 0, out=still)


def traces(
    paths: Iterable[NDArray], layout: Layout, window: int = WINDOW
) -> dict[str, dict[str, NDArray]]:
    """Trace many nets, whole and by layer and kind.

    Parameters
    ----------
    paths : iterable of ndarray, shape [n, layout.size] each
        One a net, taken one at a time.
    layout : Layout
    window : int
        See :func:`trace`.

    Returns
    -------
    dict of str to dict of str to ndarray, shape [nets, n]
        Keys as in :func:`nwslib.trajectory.groups`, then as in :func:`trace`. A
        part that is the whole net, as an only kind is, is left out.

    Raises
    ------
    ValueError
        If there are no paths, or as :func:`trace`.
    """
    members = groups(layout)
    parts = {
        name: np.concatenate(
            [np.arange(layout.slices[i].start, layout.slices[i].stop) for i in part]
        )
        for name, part in members.items()
        if name == "whole" or part != members["whole"]
    }
    nets = [
        {name: trace(path[:, part], window) for name, part in parts.items()}
        for path in paths
    ]
    if not nets:
        raise ValueError("no paths to trace: pass at least one.")
    return {
        name: {q: np.stack([net[name][q] for net in nets]) for q in QUANTITIES}
        for name in parts
    }


def ideal_paths(n: int) -> dict[str, NDArray]:
    """Two paths that go nowhere, as they look in very many dimensions.

    Returns
    -------
    dict of str to ndarray, shape [n, n]
        ``"random walk"``: every step at right angles to all others. ``"noise about a
        point"``: unrelated snapshots, all equally far from each other, as a net
        that jumps about a minimum leaves them; it turns by 120 degrees.

    References
    ----------
    Antognini & Sohl-Dickstein (2018), arXiv 1806.08805: random walks in many
    dimensions, and walks in a bowl, which stay at a distance from its bottom.
    """
    return {"random walk": np.tri(n), "noise about a point": np.eye(n)}


def logged(quantity: str, values: ArrayLike) -> NDArray:
    """A quantity on the scale on which nets compare: logarithms of lengths.

    A length of zero, of a net that stood still, becomes NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    if quantity not in LENGTHS:
        return values
    return np.log(values, where=values > 0, out=np.full(values.shape, np.nan))


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Printed as ``0.62 [0.55, 0.68]``, and as a dash where there is no number.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "\N{EN DASH}"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @property
    def sign(self) -> int:
        """-1 or 1 where the interval lies on one side of zero, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def over_nets(statistic: Callable[[NDArray], NDArray], nets: int) -> Estimate:
    """Estimate a statistic of a zoo, with a bootstrap interval over its nets.

    Parameters
    ----------
    statistic : callable
        (indices of nets, int [..., nets]) -> values [...].
    nets : int
        At least two.
    """
    index = np.random.default_rng(0).integers(nets, size=(1000, nets))
    drawn = statistic(index)
    # A draw may have no value, as a rank correlation of equal values has none.
    # scipy's bootstrap would then give no interval.
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
    return Estimate(float(statistic(np.arange(nets))), float(low), float(high))


def mean_over_nets(values: ArrayLike) -> Estimate:
    """Estimate the mean of one value a net, [nets]; NaN are left out."""
    values = np.asarray(values, dtype=np.float64)
    kept = values[~np.isnan(values)]
    if len(kept) < 2:
        return Estimate(float(kept.mean()) if len(kept) else np.nan, np.nan, np.nan)
    return over_nets(lambda index: kept[index].mean(axis=-1), len(kept))


def without_time(values: ArrayLike) -> NDArray:
    """Take away what nets share at an epoch: the mean of all other nets.

    Parameters
    ----------
    values : array_like, shape [nets, epochs]
    """
    return np.asarray(values) - others_mean(values)


def others_mean(values: ArrayLike) -> NDArray:
    """For each net the mean of all other nets at each epoch, [nets, epochs, ...].

    This is the forecast of someone who knows nothing but the time.
    """
    values = np.asarray(values, dtype=np.float64)
    return (values.sum(axis=0) - values) / (len(values) - 1)


def within(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Rank correlation over a net's epochs, averaged over nets.

    Parameters
    ----------
    x, y : array_like, shape [nets, epochs]
        Spearman's coefficient of each row is taken; rows without one, because a
        value is NaN or does not change, are left out.
    """
    return mean_over_nets(_spearman(np.asarray(x), np.asarray(y), axis=1))


def across(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Rank correlation over nets at an epoch, averaged over epochs.

    Parameters
    ----------
    x, y : array_like, shape [nets] or [nets, epochs]
    """
    x, y = (np.reshape(values, (len(values), -1)) for values in (x, y))

    def statistic(index: NDArray) -> NDArray:  # [..., nets]
        return _spearman(x[index], y[index], axis=-2).mean(axis=-1)

    return over_nets(statistic, len(x))


def _spearman(x: NDArray, y: NDArray, axis: int) -> NDArray:
    """Spearman's rank correlation along an axis, NaN where a rank is undefined."""
    from scipy.stats import rankdata

    x, y = (rankdata(values, axis=axis) for values in (x, y))
    x, y = (values - values.mean(axis=axis, keepdims=True) for values in (x, y))
    with np.errstate(invalid="ignore"):  # 0 / 0: all alike
        return (x * y).sum(axis) / np.sqrt((x**2).sum(axis) * (y**2).sum(axis))
