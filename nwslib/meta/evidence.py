"""Which features a meta-classifier's evidence comes from.

Names of features are those of :func:`nwslib.features.layerwise_names`, for example
``conv2.bias.grad.p99``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def columns(
    names: Sequence[str],
    layers: Collection[str] | None = None,
    kinds: Collection[str] | None = None,
    statistics: Collection[str] | None = None,
) -> NDArray:
    """Places of the features of some layers, kinds of weights, or statistics.

    Parameters
    ----------
    names : sequence of str
    layers, kinds, statistics : collections of str, optional
        For example ``("conv1",)``, ``("bias",)`` and ``("p1", "grad.p1")``; any
        where not given.

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If there is no such feature.
    """
    found = []
    for place, name in enumerate(names):
        layer, kind, statistic = name.split(".", 2)
        if all(
            wanted is None or given in wanted
            for given, wanted in (
                (layer, layers),
                (kind, kinds),
                (statistic, statistics),
            )
        ):
            found.append(place)
    if not found:
        raise ValueError(
            f"no feature is of layers {layers}, kinds {kinds} and statistics "
            f"{statistics}: choose from names such as '{names[0]}'."
        )
    return np.array(found)


def concentration(importances: ArrayLike, chosen: NDArray) -> float:
    """How much more some features count than they would if all counted alike.

    Parameters
    ----------
    importances : array_like, shape [rounds, k]
        Not negative.
    chosen : ndarray of int
        Places of the features.

    Returns
    -------
    float
        Their share of a round's sum, over the share that they are of all features;
        the mean over rounds. 1 if nothing sets them apart.
    """
    values = np.atleast_2d(importances)
    shares = values[:, chosen].sum(axis=1) / values.sum(axis=1)
    return float(shares.mean() * values.shape[1] / len(chosen))


def spread(importances: ArrayLike) -> float:
    """Share of the features that would count as much if they all counted alike.

    The exponential of the entropy of the mean importance, over the number of
    features: 1 if all count alike, 1/k if one of k does.
    """
    mean = np.atleast_2d(importances).mean(axis=0)
    share = mean[mean > 0] / mean.sum()
    return float(np.exp(-(share * np.log(share)).sum()) / len(mean))
