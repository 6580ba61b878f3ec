"""Many deep meta-classifiers at once: on a CPU one single-threaded process a core.

Stacked, as one net whose convolutions have a group for each, they take half as long
again: there is nothing to gain where a single net keeps a core busy. The bench's row
``dmc-many`` has the figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nwslib import _bars
from nwslib.meta.dmc_classifier import DeepClassifier, Recipe
from nwslib.meta.dmc_training import check, train
from nwslib.meta.protocol import Examples
from nwslib.meta.weight_store import WeightStore
from nwslib.nws import executors


@dataclass(frozen=True, eq=False)
class Job:
    """One training among many.

    Attributes
    ----------
    name : str
        Of its result and of its checkpoint's file, ``NAME.pt``; no other job's.
    examples : Examples
        Training rows, as :func:`nwslib.meta.dmc_training.train` takes them.
    recipe : Recipe
    seed : int
    """

    name: str
    examples: Examples
    recipe: Recipe = Recipe()
    seed: int = 0


def train_many(
    store: WeightStore,
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    checkpoints: str | Path | None = None,
    save_every: int = 10,
    progress: bool = False,
) -> Iterator[tuple[str, DeepClassifier]]:
    """Train DMCs and yield each as soon as it is ready, in any order.

    Each is what :func:`nwslib.meta.dmc_training.train` with one thread makes of the
    job, whatever the number of workers. In a script, call it under ``if __name__ ==
    "__main__":``, for workers are spawned.

    Parameters
    ----------
    store : WeightStore
        For workers give it a ``file``: they map it too, and it stays on disk until
        the last result. A store in memory is copied to each of them.
    jobs : sequence of Job
        Begun in this order; put the longest first.
    workers : int, optional
        Processes, as many as this one may use cores by default. With 1, and for a
        store on a GPU, jobs are done one after the other in this process.
    checkpoints : path, optional
        Folder of the jobs' checkpoints; made if it is missing. Asked for again, jobs
        that ended are read from it and the others continue.
    save_every : int
        Epochs between saves.
    progress : bool
        Show a bar of jobs.

    Yields
    ------
    name : str
    classifier : DeepClassifier
        On the device of the store.

    Raises
    ------
    ValueError
        Before anything is trained if jobs share a name, or one is not a file's name
        or could not begin; later as by ``train``. Each names the job.
    OSError
        If a worker is killed; jobs that it saved are not lost.
    """
    _check(store, jobs, save_every)
    folder = None if checkpoints is None else Path(checkpoints)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    alone = workers == 1 or torch.device(store.device).type != "cpu"
    executor = executors.here if alone else executors.get("local", workers)
    return _trained(executor, (store, folder, save_every), jobs, progress)


def _trained(
    executor: executors.Executor, shared: tuple, jobs: Sequence[Job], progress: bool
) -> Iterator[tuple[str, DeepClassifier]]:
    with _bars.bar(len(jobs), "net", progress) as bar:
        for job, classifier in executor(_train, shared, jobs):
            bar.set_postfix_str(job.name, refresh=False)
            bar.update()
            yield job.name, classifier


def _train(
    store: WeightStore, folder: Path | None, save_every: int, job: Job
) -> DeepClassifier:
    """Do one job, a worker's task."""
    file = None if folder is None else folder / f"{job.name}.pt"
    try:
        return train(
            store, job.examples, job.recipe, job.seed,
            checkpoint=file, save_every=save_every, threads=1,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"job '{job.name}': {error}") from error


def _check(store: WeightStore, jobs: Sequence[Job], save_every: int) -> None:
    """Raise ValueError if jobs share a name or one cannot begin."""
    for name, count in Counter(job.name for job in jobs).items():
        if count > 1:
            raise ValueError(f"{count} jobs are called '{name}': give each its own.")
        if name in ("", "..") or Path(name).name != name:
            raise ValueError(f"'{name}' is not a file's name: call the job otherwise.")
    for job in jobs:
        try:
            check(store, job.examples, job.recipe, job.seed, save_every)
        except ValueError as error:
            raise ValueError(f"job '{job.name}': {error}") from error
