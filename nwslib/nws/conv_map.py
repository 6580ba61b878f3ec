"""Principal components of a zoo's convolutions, one batch of runs at a time (Fig. 13).

Eilertsen et al., "Classifying the classifier" (2020), supplement B, reduce the 16,880
numbers of the fixed architecture's convolutions to 10 principal components. They count
batch norm's running statistics among them; here the kinds of numbers are a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwslib.zoo import Zoo

#: Kinds of a convolution's numbers that an optimizer moves; the other two are batch
#: norm's running mean and variance.
LEARNED = ("weight", "bias", "beta", "gamma")
#: All kinds, in the order of the vector.
KINDS = (*LEARNED, "mean", "var")

# Components carried from batch to batch, so that the first ten come out as from all
# points at once, and runs in a batch. A batch's cost grows with the square of both.
_CARRIED = 50
_BATCH = 5


@dataclass(frozen=True, eq=False)
class Components:
    """A zoo's snapshots along their first principal components.

    Attributes
    ----------
    points : ndarray, shape [runs, snapshots, k]
        Coordinates, the component of the largest variance first.
    explained : ndarray, shape [k]
        Share of the total variance along each.
    by_kind : dict of str to float
        Share of the total variance in the numbers of each kind.
    """

    points: NDArray
    explained: NDArray
    by_kind: dict[str, float]


def conv_components(
    zoo: Zoo, runs: Sequence[int], *, kinds: Sequence[str] = KINDS, k: int = 10
) -> Components:
    """Principal components of the convolutions of all snapshots.

    Incremental PCA (Ross et al. 2008, scikit-learn): two passes over the zoo, and no
    more than a few runs in memory. Coordinates are centred, not scaled.

    Parameters
    ----------
    zoo : Zoo
        Of one layout.
    runs : sequence of int
        Ids. Leave diverged runs out.
    kinds : sequence of str
        Out of :data:`~nwslib.nws.conv_map.KINDS`; the paper takes all.
    k : int

    Raises
    ------
    ValueError
        If the zoo has several layouts, a kind is unknown or in no convolution, weights
        are not finite, or there are fewer runs than the components need.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"unknown kind '{unknown[0]}': choose among {list(KINDS)}.")
    batches = np.array_split(runs, -(-len(runs) // _BATCH) or 1)
    least = len(zoo.snapshots) * min(map(len, batches))
    if not 1 <= k <= least:
        raise ValueError(
            f"{len(runs)} runs of {len(zoo.snapshots)} snapshots do not give {k} "
            "components: take more runs, or fewer components."
        )
    places = _places(zoo, kinds)
    own = np.concatenate(list(places.values()))

    # sklearn: only where it is used
    from sklearn.decomposition import IncrementalPCA

    pca = IncrementalPCA(min(_CARRIED, least))
    for batch in batches:
        pca.partial_fit(_read(zoo, batch, own))
    points = [pca.transform(_read(zoo, batch, own))[:, :k] for batch in batches]
    variance = np.zeros(own.max() + 1)
    variance[own] = pca.var_
    return Components(
        np.concatenate(points).reshape(len(runs), len(zoo.snapshots), k),
        pca.explained_variance_ratio_[:k],
        {
            kind: float(variance[columns].sum() / variance.sum())
            for kind, columns in places.items()
        },
    )


def _places(zoo: Zoo, kinds: Sequence[str]) -> dict[str, NDArray]:
    """Which coordinates belong to convolutions, by kind."""
    found: dict[str, list] = {kind: [] for kind in kinds}
    for piece in zoo.layout:
        if piece.layer.startswith("conv") and piece.kind in found:
            found[piece.kind].append(np.arange(piece.start, piece.stop))
    absent = [kind for kind, columns in found.items() if not columns]
    if absent:
        raise ValueError(
            f"zoo {zoo.path} has no '{absent[0]}' in convolutions: leave that kind out."
        )
    return {kind: np.concatenate(columns) for kind, columns in found.items()}


def _read(zoo: Zoo, runs: Sequence[int], columns: NDArray) -> NDArray:
    """Some coordinates of runs, [runs * snapshots, columns]."""
    weights = zoo.weights(runs)[:, :, columns]  # [runs, snapshots, columns]
    bad = ~np.isfinite(weights).all(axis=(1, 2))
    if bad.any():
        raise ValueError(
            f"run {runs[int(bad.argmax())]} of zoo {zoo.path} has weights that are "
            "not finite: leave diverged runs out."
        )
    return weights.reshape(-1, len(columns))
