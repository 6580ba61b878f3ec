"""Train a zoo to disk: in stacks, resumable, and only once.

One stack of models is one shard of the zoo. A killed run loses at most the stack
in work; called again with the same arguments, :func:`grow` goes on where it ended,
and returns at once when nothing is left to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from nwslib import train
from nwslib.data import ImageSet
from nwslib.flatten import Layout
from nwslib.nets import NetSpec
from nwslib.train import Recipe, Schedule, Trained, train_stack
from nwslib.zoo import Zoo, ZooWriter

#: Modules whose source a zoo's weights depend on: edited, the zoo is grown afresh.
_TRAINING_CODE = (
    "data", "_image_files", "_device", "nets", "flatten", "recipe", "stacked",
    "kernels/__init__", "kernels/_common", "kernels/a1", "kernels/a2", "train",
)  # fmt: skip


def grow(
    folder: str | Path,
    net: NetSpec,
    recipes: Sequence[Recipe],
    images: ImageSet,
    schedule: Schedule,
    *,
    device: str = "cpu",
    stack_size: int = 250,
    progress: bool = True,
) -> Zoo:
    """Train one net per recipe into a zoo, or open the zoo that is there.

    Parameters
    ----------
    folder : path
        Where zoos are kept; this one's subfolder is named after the net and a
        digest of all that determines its weights, training code included.
    net, recipes, images, schedule, device
        As in :func:`nwslib.train.train_stack`. Run k of the zoo follows recipe k.
    stack_size : int
        Models trained at once and written together.
    progress : bool
        Show a bar per stack.

    Returns
    -------
    Zoo
        Complete, with each run's recipe and final accuracies in ``runs``.

    Raises
    ------
    ValueError
        As ``train_stack``, or when ``stack_size`` is not positive.
    """
    if stack_size < 1:
        raise ValueError(f"stack_size is {stack_size}: give at least 1.")
    train.check_request(net, recipes, images, schedule, device)
    spec = _spec(net, recipes, images, schedule)
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    path = Path(folder) / f"{net.name}-{digest[:12]}"
    layout = Layout.of(net.build())
    try:
        return Zoo.open(path, layout)
    except FileNotFoundError:
        start = ZooWriter.create
    except ValueError:  # half-written; of a damaged zoo, resume says the same
        start = ZooWriter.resume
    with start(
        path, layout, spec=spec, snapshots=schedule.snapshots, device=device
    ) as writer:
        done = set(writer.run_ids)
        left = [run for run in range(len(recipes)) if run not in done]
        for first in range(0, len(left), stack_size):
            ids = left[first : first + stack_size]
            stack = [recipes[run] for run in ids]
            trained = train_stack(
                net, stack, images, schedule, device=device, progress=progress
            )
            writer.add(
                _run_table(ids, stack, trained),
                trained.weights,
                _history_table(ids, trained),
            )
    return Zoo.open(path, layout)


def _spec(
    net: NetSpec, recipes: Sequence[Recipe], images: ImageSet, schedule: Schedule
) -> dict:
    """Everything that determines the weights, as plain JSON values."""
    pixels = hashlib.sha256()
    for tensor in (
        images.train_images, images.train_labels, images.test_images, images.test_labels
    ):  # fmt: skip
        pixels.update(tensor.contiguous().numpy().tobytes())
    code = hashlib.sha256()
    for module in _TRAINING_CODE:
        code.update((Path(__file__).parent / f"{module}.py").read_bytes())
    return {
        "net": net.name,
        "module": repr(net.build()),
        "data": images.name,
        "pixels": pixels.hexdigest(),
        "schedule": {**asdict(schedule), "snapshots": list(schedule.snapshots)},
        "recipes": [asdict(recipe) for recipe in recipes],
        "code": code.hexdigest(),
    }


def _run_table(
    ids: Sequence[int], recipes: Sequence[Recipe], trained: Trained
) -> pd.DataFrame:
    """One row a run: recipe and final metrics."""
    table = pd.DataFrame([asdict(recipe) for recipe in recipes])
    table["batch_seed"] = [
        r.seed if r.batch_seed is None else r.batch_seed for r in recipes
    ]
    table.insert(0, "run", ids)
    for split in ("train", "test"):
        table[f"{split}_accuracy"] = trained.accuracy[split][:, -1]
        table[f"{split}_loss"] = trained.loss[split][:, -1]
    table["diverged"] = trained.diverged
    return table


def _history_table(ids: Sequence[int], trained: Trained) -> pd.DataFrame:
    """One row per run, epoch and split."""
    epochs = trained.accuracy["test"].shape[1]
    return pd.concat(
        pd.DataFrame(
            {
                "run": np.repeat(ids, epochs),
                "epoch": np.tile(np.arange(epochs), len(ids)),
                "split": split,
                "accuracy": trained.accuracy[split].ravel(),
                "loss": trained.loss[split].ravel(),
            }
        )
        for split in ("train", "test")
    )
