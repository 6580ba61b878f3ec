"""Rows on a GPU: the paper's zoos as chapter 02 grows them, 250 nets on MNIST.

Where MNIST's files are not at hand, noise of its size takes its place: the work is
the same. A row's ``facts`` say which.
"""

from __future__ import annotations

import dataclasses
import statistics

import torch

from measuring import Row, peak_flops, seconds, some, take_turns, wait
from nwslib import data, readings
from nwslib.data import ImageSet
from nwslib.nets import get_net
from nwslib.train import build_stack, train_stack
from training import N_MODELS, SETUPS, noise


def epoch_row(net: str, share: float, device: str = "cuda") -> Row:
    """Seconds of one epoch of all nets, after a warm-up."""
    images = _mnist(share)
    reading = readings.CHOSEN[net]
    models = some(N_MODELS, share)
    schedule = reading.schedule(1)
    stack = build_stack(
        get_net(net), reading.recipes(models, 0), images, schedule, device=device
    )
    n = len(images.train_labels)
    used = n // schedule.batch_size * schedule.batch_size
    order = torch.stack([torch.randperm(n)[:used].int() for _ in range(models)])
    inputs, labels = images.train_images.to(device), images.train_labels.to(device)

    def epoch() -> float:
        return seconds(lambda: (stack.train(inputs, labels, order, 0), wait(device)))

    first = epoch()
    rounds = take_turns({"ours": epoch}, some(5, share, least=1))
    peak = peak_flops(device)
    steps = used // schedule.batch_size
    return Row.of(
        f"train-{net}-gpu",
        "s/epoch",
        rounds,
        limit=models * steps * SETUPS[net].flops / peak,
        compile={"ours": max(first - statistics.median(rounds["ours"]), 0.0)},
        peak_gflops=peak / 1e9,
        facts={"models": models, "images": f"{n} of {images.name}"},
    )


def zoo_row(net: str, share: float, device: str = "cuda") -> Row:
    """Seconds of the whole zoo: 50 epochs, tested and kept after each.

    From building the stack to the last test; compilation included.
    """
    images = _mnist(share)
    reading = readings.CHOSEN[net]
    recipes = reading.recipes(some(N_MODELS, share), 0)
    schedule = reading.schedule(some(50, share))
    trained = []

    def grow() -> None:
        trained.append(
            train_stack(get_net(net), recipes, images, schedule, device=device)
        )
        wait(device)

    time = seconds(grow)
    return Row.of(
        f"zoo-{net}-gpu",
        "s",
        {"ours": [time]},
        limit=None,
        facts={
            "models": len(recipes),
            "epochs": schedule.epochs,
            "images": f"{len(images.train_labels)} of {images.name}",
            "mean test accuracy": float(trained[0].accuracy["test"][:, -1].mean()),
        },
    )


def _mnist(share: float) -> ImageSet:
    try:
        images = data.load("mnist", size=14)
    except FileNotFoundError:
        images = noise(60_000, 10_000)
    n = some(len(images.train_labels), share, least=100)
    return dataclasses.replace(
        images,
        train_images=images.train_images[:n],
        train_labels=images.train_labels[:n],
    )
