"""Rows of exact single linkage: trajectories of many nets, clustered."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from measuring import Growth, Row, peak_flops, say, seconds, some, take_turns
from nwslib.clustering import single_linkage

_ROUNDS = 5
_SNAPSHOTS = 50


def row(share: float) -> Row:
    """250 nets of 50 snapshots with 2160 weights: the paper's fully connected zoo.

    All peers compute in float64; ours returns the same merges and heights.
    """
    points = trajectories(some(250, share), 2160)
    compile_seconds = {"ours": seconds(single_linkage, points[:100])}
    works = {"ours": single_linkage} | peers()
    rounds = take_turns(
        {name: lambda work=work: seconds(work, points) for name, work in works.items()},
        some(_ROUNDS, share, least=1),
    )
    peak = peak_flops()
    return Row.of(
        "linkage-12500x2160",
        "s",
        rounds,
        limit=_flops(points) / peak,
        compile=compile_seconds,
        peak_gflops=peak / 1e9,
        memory_mb=_alone(points)["memory_mb"],
    )


def large_row(share: float) -> Row:
    """50,000 points of 1000 weights, ours alone, once, in a fresh process.

    No peers: scipy would hold 10 GB of distances, and each of them would take an
    hour or so.
    """
    points = trajectories(some(1000, share), 1000)
    measured = _alone(points)
    peak = peak_flops()
    return Row.of(
        "linkage-50000x1000",
        "s",
        {"ours": [measured["seconds"]]},
        limit=_flops(points) / peak,
        peak_gflops=peak / 1e9,
        memory_mb=measured["memory_mb"],
    )


def growth(share: float) -> Growth:
    """From 1000 points to 100,000, the peers up to 10,000.

    In 50 dimensions, the paper's SVD-50, so that the largest takes minutes.
    """
    single_linkage(trajectories(2, 50))  # compiles
    by_size = {}
    for n in (1000, 10_000, 100_000):
        points = trajectories(some(n // _SNAPSHOTS, share), 50)
        say(f"  {len(points)} points")
        works = {"ours": single_linkage} | (peers() if n <= 10_000 else {})
        by_size[len(points)] = take_turns(
            {
                name: lambda work=work, points=points: seconds(work, points)
                for name, work in works.items()
            },
            some(_ROUNDS, share, least=1),
        )
    return Growth.of("linkage", "s", "points", by_size)


def trajectories(n_nets: int, d: int) -> np.ndarray:
    """Random paths far apart whose steps become shorter, float32 [50 n_nets, d]."""
    rng = np.random.default_rng(0)
    points = np.empty((n_nets, _SNAPSHOTS, d), np.float32)
    for path in points:  # one by one, to hold nothing large in float64
        steps = rng.normal(size=path.shape) * np.linspace(1, 0.1, _SNAPSHOTS)[:, None]
        path[:] = rng.normal(scale=10, size=d) + steps.cumsum(axis=0)
    return points.reshape(-1, d)


def peers() -> dict[str, Callable[[np.ndarray], object]]:
    """What else computes single linkage; fastcluster where it is installed."""
    from scipy.cluster.hierarchy import linkage
    from sklearn.cluster import AgglomerativeClustering

    found = {
        "scipy": lambda points: linkage(points, "single"),
        "scikit-learn": AgglomerativeClustering(
            linkage="single", compute_full_tree=True
        ).fit,
    }
    if find_spec("fastcluster"):
        import fastcluster

        found["fastcluster"] = lambda points: fastcluster.linkage(points, "single")
    return found


def _flops(points: np.ndarray) -> float:
    """A multiplication and addition a coordinate, for half of the pairs."""
    n, d = points.shape
    return n**2 * d


def _alone(points: np.ndarray) -> dict[str, float]:
    """Seconds and memory of :mod:`linkage_alone` on these points."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.npy"
        np.save(path, points)
        script = Path(__file__).with_name("linkage_alone.py")
        done = subprocess.run(
            [sys.executable, script, path], stdout=subprocess.PIPE, check=True
        )
    return json.loads(done.stdout)
