"""How much of a lineage is found, on nets whose descent is known.

What :mod:`nwslib.lineage` does to files, done to snapshots in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nwslib.clustering import purity
from nwslib.flatten import Layout
from nwslib.lineage.families import families, least_cosine
from nwslib.lineage.space import distances
from nwslib.lineage.tree import grow

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Relatives:
    """Families among the snapshots of many nets, held against the truth.

    Attributes
    ----------
    families : int
        How many were found; none was told.
    purity : float
        Average share of a family's dominant net.
    least : float
        Cosine from which snapshots count as related.
    own : float
        Least cosine of a snapshot and the next of its net.
    others : float
        Greatest cosine of snapshots of different nets.
    """

    families: int
    purity: float
    least: float
    own: float
    others: float


def relatives(points: ArrayLike, nets: ArrayLike, layout: Layout) -> Relatives:
    """Group a heap of snapshots into families and compare with the nets.

    Parameters
    ----------
    points : array_like, shape [n, weights]
        Each net's in the order of their epochs.
    nets : array_like, shape [n]
    layout : Layout
    """
    points, nets = np.asarray(points, dtype=np.float32), np.asarray(nets)
    tensors = [points[:, piece.start : piece.stop] for piece in layout]
    tensors = [tensor - tensor.mean(axis=1, keepdims=True) for tensor in tensors]
    energies = np.stack([(t.astype(float) ** 2).sum(axis=1) for t in tensors], axis=1)
    shares = energies / energies.sum(axis=1, keepdims=True)
    sizes = [piece.size for piece in layout]
    centred = np.hstack(tensors)
    labels = families(centred, shares, sizes)

    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    next_is_own = nets[:-1] == nets[1:]
    own = (units[:-1] * units[1:]).sum(axis=1)[next_is_own].min()
    others = max(
        (units[nets == net] @ units[nets != net].T).max(initial=-1)
        for net in np.unique(nets)
    )
    return Relatives(
        int(labels.max() + 1), purity(labels, nets).mean,
        least_cosine(shares, sizes), float(own), float(others),
    )  # fmt: skip


def branch_trials(
    trunks: ArrayLike, left_at: int, branches: ArrayLike, seed: int = 0
) -> tuple[DataFrame, DataFrame]:
    """Recover the trees of nets that each went two ways from one snapshot.

    Parameters
    ----------
    trunks : array_like, shape [nets, n, weights]
        Snapshots of each net, first to last.
    left_at : int
        Place of the snapshot that the branch came from.
    branches : array_like, shape [nets, m, weights]
        Those of the branch; m may be 0.
    seed : int
        Of the shuffles: no order is given away.

    Returns
    -------
    trees : DataFrame, a row a net
        ``strands`` (how many were found), ``apart`` (whether the branch, or else the
        trunk after it, is exactly one of them), ``parent`` and ``near`` (whether the
        branch's first snapshot is linked to the right one, or to that or a
        neighbour of it), ``root`` (whether the first is).
    links : DataFrame, a row a link found
        ``kind``, ``confidence`` and ``right``.
    """
    from pandas import DataFrame

    trunks, branches = np.asarray(trunks), np.asarray(branches)
    n, m = trunks.shape[1], branches.shape[1]
    parents = np.concatenate([np.arange(-1, n - 1), np.arange(n - 1, n + m - 1)])
    if m:
        parents[n] = left_at
    branch, rest = set(range(n, n + m)), set(range(left_at + 1, n))
    rng = np.random.default_rng(seed)
    trees, links = [], []
    for trunk, way in zip(trunks, branches, strict=True):
        heap = rng.permutation(n + m)
        strands = grow(distances(np.concatenate([trunk, way])[heap]))
        found = np.full(n + m, -1)
        for strand in strands:
            order = heap[strand.order]
            before = [heap[strand.parent] if strand.parent >= 0 else -1, *order[:-1]]
            found[order] = before
            links += [
                ("step" if k else "branch", sure, parents[child] == parent)
                for k, (child, parent, sure) in enumerate(
                    zip(order, before, strand.confidence, strict=True)
                )
                if parent >= 0
            ]
        members = [set(heap[strand.order].tolist()) for strand in strands]
        trees.append(
            {
                "strands": len(strands),
                "apart": branch in members or rest in members,
                "parent": m > 0 and found[n] == left_at,
                "near": m > 0 and abs(found[n] - left_at) <= 1,
                "root": found[0] == -1,
            }
        )
    columns = ["kind", "confidence", "right"]
    return DataFrame(trees), DataFrame(links, columns=columns)
