"""The order of one run's snapshots, found from their pairwise distances alone.

Archaeologists call it seriation: put finds in a row so that the more two differ, the
further apart they stand (Hahsler, Hornik & Buchta 2008 review it). A matrix of
distances that never fall with the number of places between is called Robinson.
Paths of nets come close to it while their drift outweighs the noise of the batches.

Distances alone cannot tell a row from its reverse. What turns it is that nets slow
down: snapshots crowd where training ends, so the end that lies further from all
others comes first.

:data:`METHODS` holds all that are compared, :func:`.seriate` the one to use;
:mod:`nwslib.trajectory.trials` measures them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_REACH = 32  # places; snapshots further apart than this all count alike
_EXACT = 7  # up to so many snapshots every order is tried
_SHUFFLES, _SHUFFLED = 8, 400  # so many random starts, for up to so many snapshots
_HALF_SURE = 0.02  # support of a swap at which a link is as likely wrong as right


def seriate(distances: ArrayLike) -> NDArray[np.int64]:
    """Order the snapshots of one training run from first to last.

    The order sought has the greatest sum, over all pairs, of distance times
    log(1 + places apart). For a Robinson matrix any weight would do that does not
    fall with the places apart: its own order is then the best (Laurent & Seminaroti
    2015). Weights differ in what noise does to them. The length of the path looks
    at neighbours only, and loses its way where noise outweighs a step. The linear
    criterion of Hubert & Schultz (1976), without the logarithm, is led by far
    pairs, and misplaces neighbours where a path wanders without noise. The logarithm
    lies between: each doubling of the places apart counts the same.

    Up to 7 snapshots the order is the best of all. Beyond, snapshots are moved one by
    one until no move helps, from :func:`.spectral`, from :func:`.shortest_path` and, up
    to 400 snapshots, from eight shuffles; the best result stands. The shuffles are
    of the spectral order with a fixed seed: the order of the input has no say.

    Parameters
    ----------
    distances : array_like, shape [n, n]
        Symmetric, none negative. The diagonal is not looked at.

    Returns
    -------
    ndarray of int64, shape [n]
        Rows of ``distances``, from first to last. Equal distances leave the choice
        open, two snapshots the direction: such ties go by the order of the input.

    Raises
    ------
    ValueError
        If ``distances`` is not square, not symmetric, or holds a negative number or
        one that is not finite.

    Examples
    --------
    Points on a line, 4, 2 and 1 apart, in a heap:

    >>> import numpy as np
    >>> x = np.array([6, 0, 7, 4])
    >>> seriate(abs(x[:, None] - x))
    array([1, 3, 0, 2])
    """
    D = _checked(distances)
    weights = np.log1p(np.arange(_REACH + 1))
    if len(D) <= _EXACT:
        return _forwards(D, _best_of_all(D, weights))
    starts = [_spectral(D), _shortest(D)]
    if len(D) <= _SHUFFLED:
        rng = np.random.default_rng(0)
        starts += [rng.permutation(starts[0]) for _ in range(_SHUFFLES)]
    return _best_settled(D, starts, weights)


def decreasing_distance(distances: ArrayLike) -> NDArray[np.int64]:
    """Order by decreasing distance to the nearest other: the rule of the paper.

    Under single linkage this is the height at which a snapshot joins (Schuerholt &
    Borth 2020, Section 3.2). Mutual nearest neighbours tie and stay in the order of
    the input: shuffle it if that order knows the answer.

    Parameters and errors are those of :func:`.seriate`.
    """
    D = _checked(distances)
    if len(D) < 2:
        return np.arange(len(D))
    nearest = (D + np.diag(np.full(len(D), np.inf))).min(axis=1)
    return np.argsort(-nearest, kind="stable")


def nearest_next(distances: ArrayLike) -> NDArray[np.int64]:
    """Start at the snapshot furthest from all others, go to the nearest one left.

    Parameters and errors are those of :func:`.seriate`.
    """
    D = _checked(distances)
    return _greedy(D, D.sum(axis=1).argmax()) if len(D) else np.arange(0)


def towards_end(distances: ArrayLike) -> NDArray[np.int64]:
    """Order by decreasing distance to the end, found as the crowded one of the ends.

    The ends are the two snapshots furthest apart; the last one is that from which
    all others are less far.

    Parameters and errors are those of :func:`.seriate`.
    """
    D = _checked(distances)
    if len(D) < 2:
        return np.arange(len(D))
    ends = np.array(np.unravel_index(D.argmax(), D.shape))
    last = ends[D[ends].sum(axis=1).argmin()]
    return np.argsort(-D[last], kind="stable")


def principal_coordinate(distances: ArrayLike) -> NDArray[np.int64]:
    """Order by the first principal coordinate (classical scaling, Torgerson 1952).

    For Euclidean distances that is the first principal component of the points.

    Parameters and errors are those of :func:`.seriate`.
    """
    from scipy.linalg import eigh

    D = _checked(distances)
    n = len(D)
    if n < 2:
        return np.arange(n)
    gram = -(D**2) / 2
    gram -= gram.mean(axis=0)
    gram -= gram.mean(axis=1, keepdims=True)
    coordinate = eigh(gram, subset_by_index=[n - 1, n - 1])[1][:, 0]
    return _forwards(D, np.argsort(coordinate, kind="stable"))


def spectral(distances: ArrayLike) -> NDArray[np.int64]:
    """Order by the Fiedler vector (Atkins, Boman & Hendrickson 1998).

    Exact for Robinson matrices. Similarity is the greatest distance less the
    distance.

    Parameters and errors are those of :func:`.seriate`.
    """
    return _spectral(_checked(distances))


def shortest_path(distances: ArrayLike) -> NDArray[np.int64]:
    """Order along the shortest path through all snapshots.

    Up to 7 snapshots it is the shortest of all. Beyond, it is the shortest of three,
    each improved until neither turning a stretch round (2-opt) nor moving a snapshot
    helps: the spectral order, and from both of its ends to the nearest one left.

    Parameters and errors are those of :func:`.seriate`.
    """
    return _shortest(_checked(distances))


#: Every method by name: distances [n, n] -> order [n].
METHODS: dict[str, Callable[[ArrayLike], NDArray[np.int64]]] = {
    "decreasing distance": decreasing_distance,
    "towards the end": towards_end,
    "nearest next": nearest_next,
    "principal coordinate": principal_coordinate,
    "spectral": spectral,
    "shortest path": shortest_path,
    "log-lag seriation": seriate,
}


def direction_confidence(distances: ArrayLike, order: ArrayLike) -> float:
    """How sure it is that an order runs forwards and not backwards, in [0, 1].

    With a and b the mean distance of the first and of the last snapshot to all
    others, it is a^k / (a^k + b^k) with k = 0.6 min(n, 10): the fewer the snapshots,
    the more does their uneven spacing in time blur. A training that speeds up is
    taken for its reverse.

    Parameters
    ----------
    distances : array_like, shape [n, n]
    order : array_like of int, shape [n]
        Assumed right, or right backwards.

    Returns
    -------
    float
        1/2 where nothing is known, as for two snapshots.

    Raises
    ------
    ValueError
        As :func:`link_confidence`.
    """
    D = _in_order(_checked(distances), order)
    if len(D) < 3:
        return 0.5
    first, last = D[0].sum(), D[-1].sum()
    if first == last:
        return 0.5
    power = 0.6 * min(len(D), 10)
    return float(1 / (1 + (last / first) ** power)) if first else 0.0


def link_confidence(distances: ArrayLike, order: ArrayLike) -> NDArray[np.float64]:
    """How sure each link of an order is, in (0, 1].

    A link is right if, of the snapshots given, its second one came next after its
    first. It goes wrong if two neighbours trade places: those that it joins, or one
    of them and the next beyond. Every other snapshot has a say in such a swap: how
    much nearer is it to the neighbour on its own side? The say is weighted as in
    :func:`.seriate`, and divided by the distance between the two. The *support* s is
    1 on a straight line, and near 0 where the others see no difference. The
    confidence is s^2 / (s^2 + 0.02^2) for the weakest of the three swaps, plus
    chance, 1 / n, of the rest.

    0.02 was chosen on nets of 1376 and 2160 weights that trained on MNIST at
    learning rates so high that noise outweighs drift; where drift outweighs noise,
    as on the paper's zoos, more links are right than it says.
    :func:`nwslib.trajectory.trials.link_calibration` counts, chapter 07 of the book
    shows the counts.

    The direction of the whole order is another question: see
    :func:`direction_confidence`.

    Parameters
    ----------
    distances : array_like, shape [n, n]
    order : array_like of int, shape [n]
        Rows of ``distances`` from first to last, as from :func:`.seriate`.

    Returns
    -------
    ndarray, shape [n - 1]
        Empty for fewer than two snapshots; 1 for two. Duplicates can be swapped
        freely: 1 / n.

    Raises
    ------
    ValueError
        As :func:`.seriate`, or if ``order`` does not name each row once.
    """
    D = _in_order(_checked(distances), order)
    n = len(D)
    if n < 3:
        return np.ones(max(n - 1, 0))
    support = np.concatenate(([1.0], _swap_support(D), [1.0]))
    weakest = np.minimum(np.minimum(support[:-2], support[1:-1]), support[2:])
    square = np.maximum(weakest, 0) ** 2
    return 1 / n + (1 - 1 / n) * square / (square + _HALF_SURE**2)


def _swap_support(D: NDArray) -> NDArray:
    """What the others say for each two neighbours as they stand, [n - 1]."""
    n = len(D)
    rise = np.zeros(n)
    reach = min(n - 1, _REACH)
    rise[1:reach] = np.diff(np.log1p(np.arange(1, reach + 1)))
    support = np.zeros(n - 1)
    for k in range(n - 1):
        before = D[k + 1, :k] - D[k, :k]  # these are nearer to k
        after = D[k, k + 2 :] - D[k + 1, k + 2 :]  # and these to k + 1
        weight = np.concatenate((rise[1 : k + 1][::-1], rise[1 : n - k - 1]))
        if D[k, k + 1] > 0:
            say = np.concatenate((before, after)) @ weight / weight.sum()
            support[k] = say / D[k, k + 1]
    return support


def _checked(distances: ArrayLike) -> NDArray[np.float64]:
    """Distances as they should be, with an exact zero diagonal."""
    D = np.array(distances, dtype=float)
    if D.ndim != 2 or D.shape[0] != D.shape[1]:
        raise ValueError(
            f"distances have shape {D.shape}: pass a square matrix, a row and a "
            "column for each snapshot."
        )
    for wrong, word in ((~np.isfinite(D), "not finite"), (D < 0, "negative")):
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            raise ValueError(
                f"the distance between snapshots {i} and {j} is {D[i, j]}, which is "
                f"{word}: leave out snapshots that hold such weights."
            )
    if not np.allclose(D, D.T):
        i, j = np.unravel_index(abs(D - D.T).argmax(), D.shape)
        raise ValueError(
            f"the distance from snapshot {i} to {j} is {D[i, j]:g}, but {D[j, i]:g} "
            "back: pass a symmetric matrix."
        )
    np.fill_diagonal(D, 0)
    return D


def _in_order(D: NDArray, order: ArrayLike) -> NDArray:
    order = np.asarray(order)
    if sorted(order.tolist()) != list(range(len(D))):
        raise ValueError(
            f"the order names {order.size} snapshots of {len(D)}: name each row of "
            "the distances once."
        )
    order = order.astype(int)
    return D[np.ix_(order, order)]


def _forwards(D: NDArray, order: NDArray) -> NDArray:
    """An order, turned so that its less crowded end comes first."""
    if len(order) < 3 or D[order[0]].sum() >= D[order[-1]].sum():
        return order
    return order[::-1].copy()


def _spectral(D: NDArray) -> NDArray:
    from scipy.linalg import eigh

    if len(D) < 2:
        return np.arange(len(D))
    similarity = D.max() - D
    np.fill_diagonal(similarity, 0)
    laplacian = np.diag(similarity.sum(axis=1)) - similarity
    fiedler = eigh(laplacian, subset_by_index=[1, 1])[1][:, 0]
    return _forwards(D, np.argsort(fiedler, kind="stable"))


def _shortest(D: NDArray) -> NDArray:
    weights = np.array([0.0, 0.0, 1.0])  # neighbours count nothing: a short path
    if len(D) <= _EXACT:
        return _forwards(D, _best_of_all(D, weights))
    first = _spectral(D)
    starts = (first, _greedy(D, first[0]), _greedy(D, first[-1]))
    return _best_settled(D, starts, weights, turn=True)


def _greedy(D: NDArray, start: int) -> NDArray:
    """From ``start`` always to the nearest one left."""
    left = np.ones(len(D), dtype=bool)
    order = [start]
    for _ in range(len(D) - 1):
        left[order[-1]] = False
        order.append(np.where(left, D[order[-1]], np.inf).argmin())
    return np.array(order)


def _best_settled(
    D: NDArray, starts: Sequence[NDArray], weights: NDArray, turn: bool = False
) -> NDArray:
    """The best of the orders that local moves lead to, forwards.

    ``turn`` also turns stretches round where that shortens the path.
    """
    from nwslib.trajectory._moves import insert, reverse

    tolerance = 1e-9 * D.max()
    found = []
    for order in starts:
        before = None
        while before is None or (turn and (order != before).any()):
            before = order
            if turn:
                order = order[reverse(D[np.ix_(order, order)], tolerance)]
            order = order[insert(D[np.ix_(order, order)], weights, tolerance)]
        found.append(order)
    return _forwards(D, max(found, key=lambda order: _merit(D, order, weights)))


def _best_of_all(D: NDArray, weights: NDArray) -> NDArray:
    n = len(D)
    if n < 2:
        return np.arange(n)
    one_way = [p for p in itertools.permutations(range(n)) if p[0] < p[-1]]
    orders = np.array(one_way)  # [n! / 2, n]
    return orders[_merit(D, orders, weights).argmax()]


def _merit(D: NDArray, order: NDArray, weights: NDArray) -> NDArray:
    """Sum over pairs of distance times weight of places apart, for orders [..., n]."""
    place = np.arange(order.shape[-1])
    apart = np.minimum(abs(place[:, None] - place), len(weights) - 1)  # [n, n]
    within = D[order[..., :, None], order[..., None, :]]  # [..., n, n]
    return (within * weights[apart]).sum(axis=(-2, -1))
