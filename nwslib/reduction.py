"""Fewer dimensions: the truncated SVD spaces of the version-control paper."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib._optional import need

#: Larger coordinates are refused: their squared distances overflow float64.
_LARGEST = np.float64(1e140)


@dataclass(frozen=True)
class SvdSpace:
    """Points in the space of their first singular vectors.

    Attributes
    ----------
    points : ndarray, shape [n, k]
        Coordinates along the right singular vectors, largest first.
    explained : ndarray, shape [k]
        Share of the points' total variance along each of them.
    """

    points: NDArray
    explained: NDArray


def svd_space(points: ArrayLike, k: int, seed: int = 0) -> SvdSpace:
    """Project points onto their first ``k`` singular vectors.

    The points are not centred: "truncated Singular Value Decomposition", Section
    4.1 of Schuerholt & Borth, is taken at its word. Randomised algorithm
    (scikit-learn), so equal seeds give equal results.

    Parameters
    ----------
    points : array_like, shape [n, d]
        One weight vector a row.
    k : int
        Dimension to keep.
    seed : int
        Seed of the randomised algorithm.

    Returns
    -------
    SvdSpace

    Raises
    ------
    ValueError
        If ``k`` is below 1 or above ``min(n, d)``, or for points that
        :func:`check_points` refuses.
    """
    points = check_points(points)
    if not 1 <= k <= min(points.shape):
        raise ValueError(
            f"cannot reduce {points.shape[0]} points of {points.shape[1]} dimensions "
            f"to {k}: choose k between 1 and {min(points.shape)}."
        )
    from sklearn.decomposition import TruncatedSVD

    svd = TruncatedSVD(n_components=k, algorithm="randomized", random_state=seed)
    reduced = svd.fit_transform(points)  # [n, k]
    return SvdSpace(reduced, svd.explained_variance_ratio_)


def check_points(points: ArrayLike) -> NDArray:
    """Points as a C-ordered float32 or float64 array; everything else refused.

    Parameters
    ----------
    points : array_like, shape [n, d]
        float32 stays float32, any other real type becomes float64.

    Returns
    -------
    ndarray, shape [n, d]
        No copy where none is needed.

    Raises
    ------
    ValueError
        If the array is not two-dimensional, has no columns or fewer than two
        rows, or if a row is not finite (a diverged net).
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(
            f"points have shape {list(points.shape)}: pass a matrix with one weight "
            "vector a row."
        )
    if len(points) < 2:
        raise ValueError(
            f"{len(points)} point(s) have no distances: pass at least two rows."
        )
    kept = np.float32 if points.dtype == np.float32 else np.float64
    points = np.ascontiguousarray(points, dtype=kept)
    # Largest magnitude in each row, without a second matrix; NaN carries over.
    peaks = np.maximum(points.max(axis=1), -points.min(axis=1))
    bad = np.count_nonzero(~(peaks < _LARGEST))
    if bad:
        raise ValueError(
            f"{bad} of {len(points)} points hold NaN, infinite or overflowing "
            "weights: drop diverged nets first."
        )
    return points


def umap_plane(
    points: ArrayLike, seed: int = 0, *, neighbours: int = 3, min_dist: float = 0.3
) -> NDArray:
    """Lay points out in a plane by UMAP.

    By default with the settings of Fig. 4 and 5 of the version-control paper: 3
    neighbours, minimum distance 0.3 (its footnote 3). A fixed seed makes UMAP run on
    one core.

    Parameters
    ----------
    points : array_like, shape [n, d]
    seed : int
    neighbours : int
        Points that each one is linked to, itself among them.
    min_dist : float
        Least distance of points in the plane.

    Returns
    -------
    ndarray of float32, shape [n, 2]

    Raises
    ------
    ValueError
        If the points are not finite, or fewer than two more than neighbours.
    """
    points = check_points(points)
    if len(points) < neighbours + 2:
        raise ValueError(
            f"{len(points)} points are too few for UMAP with {neighbours} neighbours: "
            f"give at least {neighbours + 2}."
        )
    with warnings.catch_warnings():
        # three neighbours leave the graph in pieces, which is what we look at
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ImportWarning)  # that TensorFlow is absent
        warnings.filterwarnings("ignore", "IProgress not found")  # tqdm, in a notebook
        umap = need("umap", "book")
        return umap.UMAP(
            n_neighbors=neighbours, min_dist=min_dist, random_state=seed, n_jobs=1
        ).fit_transform(points)


def neighbour_shares(
    points: ArrayLike, nets: ArrayLike, epochs: ArrayLike
) -> dict[str, float]:
    """How often a point's nearest other point lies on the same path.

    Parameters
    ----------
    points : array_like, shape [n, d]
    nets, epochs : array_like, shape [n]

    Returns
    -------
    dict
        ``same_net``, the share of points whose nearest other point is a snapshot
        of the same net, and ``next_epoch``, of the same net one epoch apart.

    Raises
    ------
    ValueError
        If the lengths differ, or for points that :func:`check_points` refuses.
    """
    points, nets, epochs = check_points(points), np.asarray(nets), np.asarray(epochs)
    if not len(points) == len(nets) == len(epochs):
        raise ValueError(
            f"there are {len(points)} points, but {len(nets)} nets and {len(epochs)} "
            "epochs: pass one of each for every point."
        )
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1).fit(points)
    nearest = search.kneighbors(return_distance=False)[:, 0]  # [n], never itself
    same = nets[nearest] == nets
    return {
        "same_net": float(same.mean()),
        "next_epoch": float((same & (abs(epochs[nearest] - epochs) == 1)).mean()),
    }
