"""Row ``features``: the time to take a net's 480 layer-wise features, from a zoo.

``plain-loop`` is what one would write: run by run, group by group, numpy's mean,
variance and percentiles and scipy's skewness of the weights and of their differences.
Both read the same zoo on disk, of random numbers, and give the same table.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from measuring import Row, seconds, some, take_turns
from nwslib.features import of_zoo
from nwslib.features.groups import groups
from nwslib.nws.architecture import FIXED
from nwslib.zoo import Zoo, ZooWriter

N_RUNS, SNAPSHOTS = 10, 20
_ROUNDS = 5


def row(share: float) -> Row:
    """Milliseconds for a net of the fixed architecture."""
    runs, snapshots = some(N_RUNS, share), some(SNAPSHOTS, share)
    nets = runs * snapshots
    with tempfile.TemporaryDirectory() as folder:
        zoo = random_zoo(Path(folder) / "zoo", runs, snapshots)
        works = {"ours": of_zoo, "plain-loop": plain_loop}
        rounds = take_turns(
            {
                name: lambda work=work: 1e3 * seconds(work, zoo) / nets
                for name, work in works.items()
            },
            some(_ROUNDS, share, least=1),
        )
    facts = {"nets": nets, "threads": torch.get_num_threads()}
    return Row.of("features", "ms", rounds, limit=None, facts=facts)


def random_zoo(path: Path, runs: int, snapshots: int) -> Zoo:
    """Nets of the fixed architecture with normal weights."""
    rng = np.random.default_rng(0)
    writer = ZooWriter.create(path, FIXED.layout, spec={}, snapshots=range(snapshots))
    with writer:
        for run in range(runs):
            vectors = rng.standard_normal((snapshots, FIXED.n_weights), np.float32)
            scores = {"run": run, "epoch": 0, "split": "test"}
            writer.add(
                [{"run": run, "seed": 0}],
                vectors[None],  # [1, snapshots, d]
                [scores | {"accuracy": 0.1, "loss": 1.0}],
            )
    return Zoo.open(path)


def plain_loop(zoo: Zoo) -> NDArray:
    """Layer-wise features, [snapshots of all runs, 480], a number at a time."""
    from scipy.stats import skew

    places = groups(zoo.layout).values()
    rows = []
    for run in zoo.runs["run"]:
        for vector in zoo.weights([run])[0]:
            found = []
            for place in places:
                weights = vector[place.start : place.stop].astype(np.float64)
                for x in (weights, np.diff(weights)):
                    found += [np.mean(x), np.var(x), skew(x)]
                    found += [*np.percentile(x, [1, 25, 50, 75, 99])]
            rows.append(found)
    return np.array(rows)
