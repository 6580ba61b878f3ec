"""Whether a net is like those that a meta-classifier has learned from.

A classifier names a category for any weights whatever. So it should be asked only
about nets like those it knows. The score is that of the oddest kind of weights, such
as batch norm's running means: the share of its statistics, over all layers, that lie
well outside the range that the known nets span. It says which kind is odd, is not moved
by how far outside a value lies, and notices constant tensors. The Mahalanobis distance
is here to be compared with it. Of a net that was never trained no statistics are
needed: :func:`untrained` reads it off batch norm.

What leaves the statistics of weights as they are cannot be noticed so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nwslib import detection
from nwslib.features import LAYERS, STATISTICS, layerwise
from nwslib.flatten import Layout
from nwslib.nws.conv_map import KINDS
from nwslib.nws.table import successful
from nwslib.zoo import Zoo

#: The layer-wise features, by layer, kind and statistic (those of a kind of weights in
#: a layer are the weights' and their gradient's).
SHAPE = (len(LAYERS), len(KINDS), 2 * len(STATISTICS))
#: Share of the nets of the known kind that may be called unusual.
FALSE_ALARMS = 0.01

#: How far outside counts as well outside: a share of the range's width, on a scale that
#: is logarithmic for all but the smallest values. Without it known nets at the ends,
#: a little further out than others in many statistics, set a limit so high that little
#: is noticed.
MARGIN = 0.2

# Below this share of the larger end of a range the scale is linear.
_LINEAR = 1e-5
_FOLDS = 5

#: (features [rows, 480] of known nets) -> what scores features [n, 480] with [n], the
#: higher the more unusual.
Learner = Callable[[NDArray], Callable[[NDArray], NDArray]]


@dataclass(frozen=True, eq=False)
class Range:
    """Which values layer-wise features have in known nets.

    Attributes
    ----------
    lowest, highest : ndarray, shape [480]
    limit : float
        Scores above it count as unusual.
    margin : float
        How far outside is outside, see :data:`MARGIN`.
    """

    lowest: NDArray
    highest: NDArray
    limit: float = 1.0
    margin: float = MARGIN

    @classmethod
    def of(cls, features: NDArray, runs: NDArray, seed: int = 0) -> Range:
        """Learn the range, and the limit from nets left out of it in turn.

        Parameters
        ----------
        features : ndarray, shape [rows, 480]
        runs : ndarray of int, shape [rows]
            Which net a row is of.
        seed : int
            Of the division of the nets.

        Raises
        ------
        ValueError
            If there are fewer than two nets.
        """
        scores = held_out_scores(outside, features, runs, seed)
        limit = float(np.quantile(scores, 1 - FALSE_ALARMS))
        return cls(features.min(axis=0), features.max(axis=0), limit)

    def shares(self, features: NDArray) -> NDArray:
        """Share of each kind's statistics well outside the range.

        Parameters
        ----------
        features : ndarray, shape [n, 480]
            What is not finite lies outside.

        Returns
        -------
        ndarray, shape [n, 6]
            In the order of :data:`nwslib.nws.conv_map.KINDS`.
        """
        size = np.maximum(np.abs(self.lowest), np.abs(self.highest))
        unit = np.maximum(_LINEAR * size, np.finfo(float).tiny)
        with np.errstate(over="ignore"):  # infinitely far is outside
            low, high, x = (
                np.arcsinh(each / unit)
                for each in (self.lowest, self.highest, np.asarray(features))
            )
        margin = self.margin * (high - low)
        inside = (x >= low - margin) & (x <= high + margin)
        return 1 - inside.reshape(len(features), *SHAPE).mean(axis=(1, 3))

    def score(self, features: NDArray) -> NDArray:
        """The oddest kind's share: features [n, 480] to scores [n] from 0 to 1."""
        return self.shares(features).max(axis=1)


def untrained(vector: NDArray, layout: Layout) -> bool:
    """Whether batch norm is as it was before the first step, in all layers.

    Nets of the family begin with factors of 1 and offsets of 0
    (:func:`nwslib.nws.architecture.initialise`), and any step of training moves them.

    Parameters
    ----------
    vector : ndarray, shape [d]
    layout : Layout
        With batch norm.
    """
    start = {"gamma": 1.0, "beta": 0.0}
    return all(
        np.all(vector[piece.start : piece.stop] == start[piece.kind])
        for piece in layout
        if piece.kind in start
    )


def outside(features: NDArray) -> Callable[[NDArray], NDArray]:
    """Learn :meth:`Range.score`."""
    return Range(features.min(axis=0), features.max(axis=0)).score


def distance(features: NDArray) -> Callable[[NDArray], NDArray]:
    """Learn the Mahalanobis distance of features scaled by rank.

    The covariance is that of Ledoit and Wolf (2004).
    """
    from nwslib.meta.svm import normal_scores

    scaling = normal_scores(len(features)).fit(features)
    score = detection.reference(scaling.transform(features)[None])
    return lambda rows: score(scaling.transform(rows)[None])[0]


def held_out_scores(
    learn: Learner, features: NDArray, runs: NDArray, seed: int = 0
) -> NDArray:
    """Score every net by what was learned from others.

    Parameters
    ----------
    learn : callable
    features : ndarray, shape [rows, 480]
    runs : ndarray of int, shape [rows]
    seed : int

    Returns
    -------
    ndarray, shape [rows]

    Raises
    ------
    ValueError
        If there are fewer than two nets.
    """
    fold = _fold_of(runs, seed)
    scores = np.empty(len(features))
    for part in np.unique(fold):
        scores[fold == part] = learn(features[fold != part])(features[fold == part])
    return scores


def changed(
    zoo: Zoo, seed: int = 0, thresholds: Mapping[str, float] | None = None
) -> dict[str, tuple[NDArray, NDArray]]:
    """Foreign nets: a zoo's, changed; its failures; its nets before training.

    Parameters
    ----------
    zoo : Zoo
    seed : int
        Of what is drawn, a stream a net.
    thresholds : mapping of str to float, optional
        As :func:`nwslib.nws.table.successful` takes them.

    Returns
    -------
    dict of str to (ndarray of float64 [nets, 480], ndarray of int [nets])
        Features and run ids of each case. Changed is the last snapshot of the nets
        that learned something.
    """
    learned = set(successful(zoo.runs, thresholds)["run"].tolist())
    layout_of = zoo.runs.set_index("run")["layout"] if "layout" in zoo.runs else None
    rows: dict[str, list[NDArray]] = {}
    ids: dict[str, list[int]] = {}
    ends = [zoo.snapshots[0], zoo.snapshots[-1]]
    for run in zoo.runs["run"].tolist():
        layout = zoo.layout if layout_of is None else zoo.layouts[layout_of[run]]
        first, last = zoo.weights([run], ends)[0]  # [d] each
        cases = {"failed": last}
        if run in learned:
            rng = np.random.default_rng([seed, run])
            cases = {"untrained": first} | {
                name: _tensor_by_tensor(change, last, layout, rng)
                for name, change in CHANGES.items()
            }
        for name, vector in cases.items():
            found = layerwise(vector[None], layout)[0]
            if name != "failed" or np.isfinite(found).all():
                rows.setdefault(name, []).append(found)
                ids.setdefault(name, []).append(run)
    return {name: (np.stack(rows[name]), np.array(ids[name])) for name in rows}


def detected(
    learn: Learner,
    features: NDArray,
    runs: NDArray,
    cases: Mapping[str, tuple[NDArray, NDArray]],
    table: pd.DataFrame | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how often foreign nets are called unusual, and known ones.

    A net, changed or not, is scored by what was learned from other nets, and the
    limit is from other nets too.

    Parameters
    ----------
    learn : callable
    features : ndarray, shape [rows, 480]
        Of known nets.
    runs : ndarray of int, shape [rows]
    cases : mapping of str to (ndarray [nets, 480], ndarray of int [nets])
        As from :func:`changed`.
    table : DataFrame, optional
        A row a net, as in a zoo; needed for ``left_out``.
    left_out : sequence of (str, str)
        Hyper-parameter and category that is kept from the learner, and is then
        foreign.
    seed : int

    Returns
    -------
    DataFrame
        A row a case, the known nets first: ``case``; ``rows``; ``auroc``, area under
        the ROC curve against held-out known nets, 0.5 being chance; ``unusual``,
        share above the limit.
    """
    # sklearn: only where it is used
    from sklearn.metrics import roc_auc_score

    found = []

    def judge(case: str, scores: NDArray, limits: NDArray, usual: NDArray) -> None:
        truth = np.repeat([0, 1], [len(usual), len(scores)])
        area = roc_auc_score(truth, np.concatenate([usual, scores]))
        above = float(np.mean(scores > limits))
        found.append((case, len(scores), float(area), above))

    fold = _fold_of(runs, seed)
    fold_of = dict(zip(runs.tolist(), fold.tolist(), strict=True))
    scores = held_out_scores(learn, features, runs, seed)
    parts = range(fold.max() + 1)
    limits = np.array(
        [np.quantile(scores[fold != part], 1 - FALSE_ALARMS) for part in parts]
    )
    judge("known", scores, limits[fold], scores)
    scorers = [learn(features[fold != part]) for part in parts]
    for case, (rows, ids) in cases.items():
        # Nets that no fold has learned from may be scored by any.
        place = np.array([fold_of.get(run, run % len(parts)) for run in ids.tolist()])
        own = np.empty(len(rows))
        for part in parts:
            own[place == part] = scorers[part](rows[place == part])
        judge(case, own, limits[place], scores)
    for name, category in left_out:
        value_of = table.set_index("run")[name]
        foreign = (value_of.loc[runs] == category).to_numpy()
        known = held_out_scores(learn, features[~foreign], runs[~foreign], seed)
        limit = np.quantile(known, 1 - FALSE_ALARMS)
        own = learn(features[~foreign])(features[foreign])
        judge(f"without {name} {category}", own, limit, known)
    return pd.DataFrame(found, columns=["case", "rows", "auroc", "unusual"])


def _noisy(x: NDArray, rng: np.random.Generator) -> NDArray:
    return x + 0.1 * x.std() * rng.standard_normal(x.shape, dtype=np.float32)


def _in_8_bits(x: NDArray, rng: np.random.Generator) -> NDArray:
    """Rounded to 255 levels about zero, as quantisation and its undoing leave it."""
    unit = np.abs(x).max() / 127 or 1.0
    return np.round(x / unit) * unit


#: What may be done to each tensor [size] of a net.
CHANGES: dict[str, Callable[[NDArray, np.random.Generator], NDArray]] = {
    "zeros": lambda x, rng: np.zeros_like(x),
    "doubled": lambda x, rng: 2 * x,
    "shuffled": lambda x, rng: rng.permutation(x),
    "8 bits": _in_8_bits,
    "noise of 10 %": _noisy,
}


def _tensor_by_tensor(
    change: Callable[[NDArray, np.random.Generator], NDArray],
    vector: NDArray,
    layout: Layout,
    rng: np.random.Generator,
) -> NDArray:
    """Change each tensor of a net's vector [d] on its own."""
    pieces = [change(vector[piece.start : piece.stop], rng) for piece in layout]
    return np.concatenate(pieces)


def _fold_of(runs: NDArray, seed: int) -> NDArray:
    """Group of each row [rows], the same for all rows of a net."""
    nets, of_row = np.unique(runs, return_inverse=True)
    if len(nets) < 2:
        raise ValueError(
            f"{len(nets)} net to learn what is usual from: give two at least."
        )
    return detection.folds(len(nets), min(_FOLDS, len(nets)), seed)[of_row]
