"""Sample the weight space to disk: resumable, alone or on many machines.

A worker trains the runs of a shard, on a CPU one after the other on one thread, on a
GPU in stacks of one shape, and only the process that called :func:`.sample` writes. So
any number of workers, here or elsewhere, give the same zoo, and a kill loses no more
than the shards in work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from nwslib import _bars
from nwslib._device import check_device
from nwslib.nws import executors
from nwslib.nws.course import TrainedNet
from nwslib.nws.executors import Executor
from nwslib.nws.images import Images
from nwslib.nws.plan import Plan
from nwslib.nws.stack import fills_a_batch, stackable, train_stack
from nwslib.nws.training import train
from nwslib.zoo import Zoo, ZooWriter


def sample(
    path: str | Path,
    plan: Plan,
    runs: int,
    *,
    data_dir: str | Path | None = None,
    executor: Executor | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Zoo:
    """Train ``runs`` nets into a zoo, or those that are missing from it.

    Called again, it goes on where it ended, and with more runs it adds to them.

    Parameters
    ----------
    path : path
        The zoo's folder, new or of the same plan.
    plan : Plan
    runs : int
        How many; rounded up to whole shards.
    data_dir : path, optional
        Where image sets are, as :func:`nwslib.data.load` takes it.
    executor : Executor, optional
        Where shards are trained, see :mod:`nwslib.nws.executors`; by default in one
        process a core, and on a GPU in this process.
    device : str
        What a worker trains on. On a GPU the plan's shards should have hundreds of
        runs, for stacks are made of the runs of one shard.
    progress : bool
        Show a bar, or in a log a line a minute.

    Returns
    -------
    Zoo
        Complete. ``runs`` has a row a net: hyper-parameters, sizes, epochs, why it
        stopped, seconds, last accuracies and losses, and ``kept_epochs``, which of
        its epochs the snapshots 0, 1, ... were taken after.

    Raises
    ------
    FileNotFoundError, ValueError
        If images or the device are missing, or the folder holds something else,
        another plan's zoo, or one that another sampler is writing.
    OSError
        If the disk is full or a worker dies again and again; what was stored stays.
    """
    if runs < 1:
        raise ValueError(f"runs is {runs}: sample at least one.")
    check_device(device)
    if executor is None:
        on_cpu = torch.device(device).type == "cpu"
        executor = executors.local() if on_cpu else executors.here
    images = {source.name: source.load(data_dir) for source in plan.sources}
    settings = {
        "layouts": {each.name: each.layout for each in plan.architectures},
        "spec": plan.spec(images),
        "snapshots": range(plan.budget.snapshots),
        "dtype": plan.dtype,
        "device": device,
    }
    shards = -(-runs // plan.shard_size)  # rounded up
    with _writer(Path(path), settings) as writer:
        done = set(writer.run_ids)
        left = [shard for shard in range(shards) if shard * plan.shard_size not in done]
        bar = _bars.bar(
            shards * plan.shard_size,
            "run",
            progress,
            initial=(shards - len(left)) * plan.shard_size,
        )
        with bar:
            for shard, trained in executor(train_shard, (plan, images, device), left):
                numbers = _numbers(plan, shard)
                writer.add(
                    _run_table(plan, numbers, trained),
                    [net.weights for net in trained],
                    _history_table(numbers, trained),
                    shard=shard,
                )
                bar.update(len(numbers))
    return Zoo.open(path)


def train_shard(
    plan: Plan, images: Mapping[str, Images], device: str, shard: int
) -> list[TrainedNet]:
    """Train the runs of one shard, a worker's task.

    On the CPU one after the other; else those that share a shape together, but for
    those with fewer images than a batch, which train alone.
    """
    on_cpu = torch.device(device).type == "cpu"
    alone, stacks = [], {}
    for number in _numbers(plan, shard):
        given = plan.run(number)
        if on_cpu or not fills_a_batch(given, images[given.dataset]):
            alone.append(number)
        else:
            stacks.setdefault(stackable(given), []).append(number)
    trained = {number: _train_alone(plan, images, number) for number in alone}
    for numbers in stacks.values():
        nets = train_stack(
            [plan.run(number) for number in numbers],
            images, plan.budget, seed=plan.seed, runs=numbers, device=device,
        )  # fmt: skip
        trained |= zip(numbers, nets, strict=True)
    return [trained[number] for number in _numbers(plan, shard)]


def _train_alone(plan: Plan, images: Mapping[str, Images], number: int) -> TrainedNet:
    given = plan.run(number)
    return train(given, images[given.dataset], plan.budget, seed=plan.seed, run=number)


def _numbers(plan: Plan, shard: int) -> range:
    return range(shard * plan.shard_size, (shard + 1) * plan.shard_size)


def _writer(path: Path, settings: Mapping) -> ZooWriter:
    """The zoo's writer, new or resumed."""
    if (path / "zoo.json").exists():
        return ZooWriter.resume(path, **settings)
    return ZooWriter.create(path, **settings)


def _run_table(
    plan: Plan, numbers: Sequence[int], trained: Sequence[TrainedNet]
) -> pd.DataFrame:
    """One row a run."""
    rows = []
    for number, net in zip(numbers, trained, strict=True):
        given = plan.run(number)
        architecture = given.architecture
        rows.append(
            {"run": number, "seed": plan.seed, "layout": architecture.name}
            | given.row()
            | {
                "n_weights": architecture.n_weights,
                "n_conv_weights": architecture.n_conv_weights,
                "epochs": net.epochs,
                "steps": net.steps,
                "stopped": net.stopped,
                "seconds": net.seconds,
                "kept_epochs": " ".join(map(str, net.kept_epochs)),
            }
            | {
                f"{split}_{measure}": float(values[split][-1])
                for measure, values in (("accuracy", net.accuracy), ("loss", net.loss))
                for split in values
            }
        )
    return pd.DataFrame(rows)


def _history_table(
    numbers: Sequence[int], trained: Sequence[TrainedNet]
) -> pd.DataFrame:
    """One row per run, epoch and split."""
    return pd.concat(
        pd.DataFrame(
            {
                "run": number,
                "epoch": range(net.epochs + 1),
                "split": split,
                "accuracy": net.accuracy[split],
                "loss": net.loss[split],
            }
        )
        for number, net in zip(numbers, trained, strict=True)
        for split in net.accuracy
    )
