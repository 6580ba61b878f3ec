"""How well snapshots are put in order, on runs whose order is known.

Each function measures :mod:`nwslib.trajectory.seriation` on whole runs. Snapshots are
shuffled first, so that no method gains from the order in which they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.trajectory import epochs as _epochs
from nwslib.trajectory.seriation import METHODS, link_confidence, seriate

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def _early_half_longer(D: NDArray) -> float:
    steps = np.diagonal(D, 1)
    half = len(steps) // 2
    return steps[:half].sum() - steps[len(steps) - half :].sum()


def _falling_steps(D: NDArray) -> float:
    """Least-squares slope of the steps, but for a negative factor."""
    steps = np.diagonal(D, 1)
    place = np.arange(len(steps))
    return -(place - place.mean()) @ steps


#: What may tell a path from its reverse, by name: distances of snapshots in order
#: [n, n] -> number, positive if they seem to run forwards. The last one is what
#: :mod:`nwslib.trajectory.seriation` turns orders by.
CUES: dict[str, Callable[[NDArray], float]] = {
    "first step longer than last": lambda D: D[0, 1] - D[-2, -1],
    "early half of steps longer": _early_half_longer,
    "steps fall on average": _falling_steps,
    "first further from all than last": lambda D: D[0].sum() - D[-1].sum(),
}


def compare_methods(
    runs: Sequence[ArrayLike],
    epochs: Sequence[ArrayLike],
    methods: Mapping[str, Callable] = METHODS,
    seed: int = 0,
) -> DataFrame:
    """Order every run by every method and hold the orders against the epochs.

    Parameters
    ----------
    runs : sequence of array_like, shape [n, d] each
        Snapshots of one run after the other; at least 2 of each.
    epochs : sequence of array_like, shape [n] each
        Epoch of each snapshot, no two alike in a run.
    methods : mapping
        (distances [n, n]) -> order [n], by name.
    seed : int
        Of the shuffles.

    Returns
    -------
    DataFrame, a row a method
        Means over runs, each followed by its standard error in a column with
        ``_se``: ``tau`` (Kendall's rank correlation of place and epoch: 1 in order,
        -1 backwards), ``oriented`` (share of runs with a positive tau), and
        ``ordered_initial`` and ``ordered_pairs``, see
        :class:`nwslib.trajectory.Order`.

    Raises
    ------
    ValueError
        If there is no run, or a run has other than one epoch a snapshot.
    """
    from pandas import DataFrame
    from scipy.stats import kendalltau

    columns = ["tau", "oriented", "ordered_initial", "ordered_pairs"]
    scores = {name: [] for name in methods}
    for distances, epoch in _shuffled(runs, epochs, seed):
        for name, method in methods.items():
            place = np.argsort(method(distances))
            tau = kendalltau(place, epoch).statistic
            measured = _epochs.order(-place, epoch)
            scores[name].append((tau, tau > 0, measured.initial, measured.pairs))
    rows = {}
    for name, values in scores.items():
        values = np.array(values, dtype=float)  # [runs, columns]
        error = values.std(axis=0, ddof=min(1, len(values) - 1)) / len(values) ** 0.5
        rows[name] = np.stack([values.mean(axis=0), error], axis=-1).ravel()
    names = [column + end for column in columns for end in ("", "_se")]
    return DataFrame.from_dict(rows, orient="index", columns=names)


def compare_cues(
    runs: Sequence[ArrayLike],
    epochs: Sequence[ArrayLike],
    cues: Mapping[str, Callable] = CUES,
) -> Series:
    """Share of runs whose direction a cue finds, given the order but for that.

    Parameters and errors are those of :func:`compare_methods`; ``cues`` as
    :data:`CUES`. A cue that is zero counts half.
    """
    from pandas import Series

    found = {name: [] for name in cues}
    for distances, epoch in _shuffled(runs, epochs, seed=0):
        order = np.argsort(epoch)
        for name, cue in cues.items():
            value = cue(distances[np.ix_(order, order)])
            found[name].append((np.sign(value) + 1) / 2)
    return Series({name: float(np.mean(values)) for name, values in found.items()})


def link_calibration(
    runs: Sequence[ArrayLike],
    epochs: Sequence[ArrayLike],
    edges: ArrayLike = (0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1),
    seed: int = 0,
) -> DataFrame:
    """Share of right links by their confidence.

    Links are those of :func:`.seriate`. An order found
    backwards is turned first: the direction is another question.

    Parameters and errors are those of :func:`compare_methods`; ``edges`` are those
    of the bins of confidence, closed above.

    Returns
    -------
    DataFrame, a row a bin that holds links
        ``links`` (their number), ``confidence`` (their mean) and ``right`` (the
        share whose second snapshot is the next after the first).
    """
    import pandas as pd
    from scipy.stats import kendalltau

    links = []
    for distances, epoch in _shuffled(runs, epochs, seed):
        order = seriate(distances)
        rank = np.argsort(np.argsort(epoch))[order]
        forwards = kendalltau(rank, np.arange(len(rank))).statistic >= 0
        right = np.diff(rank) == (1 if forwards else -1)
        links.append(np.stack([link_confidence(distances, order), right], axis=-1))
    table = pd.DataFrame(np.concatenate(links), columns=["confidence", "right"])
    bins = pd.cut(table["confidence"], list(edges), include_lowest=True)
    grouped = table.groupby(bins, observed=True)
    return pd.DataFrame(
        {
            "links": grouped.size(),
            "confidence": grouped["confidence"].mean(),
            "right": grouped["right"].mean(),
        }
    ).rename_axis("bin")


def _shuffled(
    runs: Sequence[ArrayLike], epochs: Sequence[ArrayLike], seed: int
) -> Iterator[tuple[NDArray, NDArray]]:
    """Distances [n, n] and epochs [n] of each run, in an order that tells nothing."""
    from scipy.spatial.distance import pdist, squareform

    if len(runs) != len(epochs) or not len(runs):
        raise ValueError(
            f"{len(runs)} runs, and epochs of {len(epochs)}: pass the epochs of each "
            "run, and at least one run."
        )
    rng = np.random.default_rng(seed)
    for k, (points, epoch) in enumerate(zip(runs, epochs, strict=True)):
        points, epoch = np.asarray(points), np.asarray(epoch)
        if len(points) != len(epoch) or len(points) < 2:
            raise ValueError(
                f"run {k} has {len(points)} snapshots and {len(epoch)} epochs: pass "
                "one epoch for each of at least 2 snapshots."
            )
        heap = rng.permutation(len(points))
        yield squareform(pdist(points))[np.ix_(heap, heap)], epoch[heap]
