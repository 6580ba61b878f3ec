"""Train a stack as usual, then let it go on with other data.

Every net starts all its continuations from one state: weights, moments, number of
steps. A checkpoint follows after a fixed number of steps, the same before and after
the change, and inputs stay scaled by the usual data. So a continuation differs from
the one with more of the same by what its :class:`Condition` says, and by nothing
else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nwslib.data import ImageSet
from nwslib.nets import NetSpec
from nwslib.stacked import StackedNets
from nwslib.train import Recipe, build_stack, check_request

if TYPE_CHECKING:
    from nwslib.readings import Reading

#: A source of random numbers for each net of a stack.
Generators = Sequence[np.random.Generator]

#: What a stack trains on up to its next checkpoint: (stack, generators, number of
#: images) -> images [pool, channels, height, width], labels [pool] and each net's own
#: order of them, int32 [models, number].
Feed = Callable[[StackedNets, Generators, int], tuple[Tensor, Tensor, Tensor]]

#: (stack, images [models, n, channels, height, width], labels [models, n], seed) ->
#: images of that shape.
Attack = Callable[[StackedNets, Tensor, Tensor, int], Tensor]

#: Images and labels to measure accuracy on, by name.
Probes = Mapping[str, tuple[Tensor, Tensor]]

#: Images attacked at once: bounds the memory of their gradients.
_PIECE = 500


@dataclass(frozen=True)
class Plan:
    """When checkpoints are taken.

    Attributes
    ----------
    images : int
        Seen from a checkpoint to the next, rounded down to whole batches.
    unseen : int
        Checkpoints that pass before the first is kept.
    before, after : int
        Checkpoints from the first kept one to the change, and from there on.
    """

    images: int = 4000
    unseen: int = 60
    before: int = 20
    after: int = 8

    def __post_init__(self) -> None:
        if min(self.images, self.before, self.after) < 1 or self.unseen < 0:
            raise ValueError(
                f"{self} makes no sense: give at least one image, one checkpoint "
                "before and one after, and no negative number."
            )


@dataclass(frozen=True)
class Condition:
    """How training goes on.

    Attributes
    ----------
    feed : Feed
        For example :func:`all_of`.
    lr : float
        Factor of the learning rate.
    """

    feed: Feed
    lr: float = 1.0


@dataclass(frozen=True, eq=False)
class Start:
    """A stack at the moment of change.

    Attributes
    ----------
    net : NetSpec
    reading : Reading
    recipes : tuple of Recipe
        One a model.
    usual : ImageSet
        What it was trained on; the test images are the held-out ones.
    plan : Plan
    device : str
    weights : ndarray of float32, shape [models, before + 1, weights]
        Checkpoints; every continuation begins at the last.
    accuracy : ndarray, shape [models, before + 1]
        On the held-out images, as a share.
    state : tuple of three Tensor, shapes [models, weights]
        Weights, first and second moment.
    steps : int
        Training steps so far.
    """

    net: NetSpec
    reading: Reading
    recipes: tuple[Recipe, ...]
    usual: ImageSet
    plan: Plan
    device: str
    weights: NDArray
    accuracy: NDArray
    state: tuple[Tensor, Tensor, Tensor]
    steps: int


@dataclass(frozen=True, eq=False)
class Continued:
    """A stack after the change.

    Attributes
    ----------
    weights : ndarray of float32, shape [models, after, weights]
        Checkpoints, the first one ``plan.images`` images after the change.
    accuracy : dict of str to ndarray, shapes [models, after]
        Share of right answers on ``"held-out"`` and on each probe.
    """

    weights: NDArray
    accuracy: dict[str, NDArray]


def pretrain(
    net: NetSpec,
    reading: Reading,
    n_models: int,
    usual: ImageSet,
    plan: Plan,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> Start:
    """Train a stack on the usual data up to the moment of change.

    Raises
    ------
    ValueError
        As :func:`nwslib.train.train_stack`, or if a checkpoint's images do not fill
        a batch.
    """
    recipes = tuple(reading.recipes(n_models, seed))
    schedule = reading.schedule(1)
    check_request(net, recipes, usual, schedule, device)
    if plan.images < reading.batch_size:
        raise ValueError(
            f"a checkpoint every {plan.images} images is less than a batch of "
            f"{reading.batch_size}: raise the plan's images."
        )
    stack = build_stack(net, recipes, usual, schedule, device=device)
    condition = Condition(all_of(usual.train_images, usual.train_labels))
    probe = {"held-out": (usual.test_images, usual.test_labels)}
    generators = _generators(recipes, "before")
    train = partial(_train, stack, condition, generators, reading, plan.images, device)
    _, _, steps = train(0, plan.unseen, {})
    weights, accuracy = [stack.weights.cpu()], _accuracies(stack, probe, device)
    later, accuracies, steps = train(steps, plan.before, probe)
    return Start(
        net, reading, recipes, usual, plan, device,
        torch.stack([*weights, *later], 1).numpy(),
        np.stack([a["held-out"] for a in (accuracy, *accuracies)], 1),
        stack.state, steps,
    )  # fmt: skip


def continue_training(
    start: Start,
    name: str,
    condition: Condition,
    probes: Probes | None = None,
    after: int | None = None,
) -> Continued:
    """Train a fork of a stack under a condition; the start stays as it is.

    Parameters
    ----------
    start : Start
    name : str
        Seeds the order of images: equal names give equal continuations.
    condition : Condition
    probes : mapping of str to (images, labels), optional
        Further sets to measure the accuracy on, besides the held-out images.
    after : int, optional
        Checkpoints, instead of the plan's.
    """
    stack = fork(start, condition.lr)
    held_out = {"held-out": (start.usual.test_images, start.usual.test_labels)}
    probes = held_out | dict(probes or {})
    weights, accuracies, _ = _train(
        stack, condition, _generators(start.recipes, f"after, {name}"), start.reading,
        start.plan.images, start.device, start.steps, after or start.plan.after, probes,
    )  # fmt: skip
    return Continued(
        torch.stack(weights, 1).numpy(),
        {probe: np.stack([a[probe] for a in accuracies], 1) for probe in probes},
    )


def fork(start: Start, lr: float = 1.0) -> StackedNets:
    """Copy the stack as it stood at the change, with ``lr`` times the learning rate."""
    recipes = [replace(r, lr=r.lr * lr) for r in start.recipes]
    stack = build_stack(
        start.net, recipes, start.usual, start.reading.schedule(1), device=start.device
    )
    stack.load(start.state)
    return stack


def all_of(images: Tensor, labels: Tensor) -> Feed:
    """Feed all images, each as often as the others, in an order of each net's own."""
    every = np.arange(len(labels))

    def feed(stack, generators, count):
        return images, labels, _orders(generators, [every] * len(generators), count)

    return feed


def without_class(images: Tensor, labels: Tensor, n_classes: int) -> Feed:
    """Feed all images but one class's: net k misses class k modulo ``n_classes``."""
    left = [np.flatnonzero(labels.cpu() != missing) for missing in range(n_classes)]

    def feed(stack, generators, count):
        pools = [left[k % n_classes] for k in range(len(generators))]
        return images, labels, _orders(generators, pools, count)

    return feed


def attacked(images: Tensor, labels: Tensor, attack: Attack) -> Feed:
    """Feed images that were changed to mislead the very net that gets them.

    They are made anew after every checkpoint, against the weights of that time: of as
    many images as are fed, or of all if these are fewer.
    """
    every = np.arange(len(labels))

    def feed(stack, generators, count):
        models, n = len(generators), min(count, len(labels))
        chosen = _orders(generators, [every] * models, n).long()  # [models, n]
        device = stack.weights.device
        pieces = chosen.split(_PIECE, 1)
        seeds = generators[0].integers(2**31, size=len(pieces)).tolist()
        made = torch.cat(
            [
                attack(stack, images[part].to(device), labels[part].to(device), seed)
                for part, seed in zip(pieces, seeds, strict=True)
            ],
            1,
        )  # [models, n, channels, height, width]
        own = [np.arange(k * n, (k + 1) * n) for k in range(models)]
        return (
            made.flatten(0, 1),
            labels[chosen].flatten(),
            _orders(generators, own, count),
        )

    return feed


def _train(
    stack: StackedNets,
    condition: Condition,
    generators: Generators,
    reading: Reading,
    images: int,
    device: str,
    step: int,
    checkpoints: int,
    probes: Probes,
) -> tuple[list[Tensor], list[dict[str, NDArray]], int]:
    """Weights and accuracies at each checkpoint, and the number of steps at the end."""
    steps = images // reading.batch_size
    weights, accuracies = [], []
    for _ in range(checkpoints):
        pool, labels, order = condition.feed(
            stack, generators, steps * reading.batch_size
        )
        stack.train(pool.to(device), labels.to(device), order, step)
        step += steps
        weights.append(stack.weights.cpu())
        accuracies.append(_accuracies(stack, probes, device))
    return weights, accuracies, step


def _orders(generators: Generators, pools: Sequence[NDArray], count: int) -> Tensor:
    """Draw from each net's pool until it is empty, then afresh: [models, count]."""
    rows = [
        np.concatenate([rng.permutation(pool) for _ in range(-(-count // len(pool)))])
        for rng, pool in zip(generators, pools, strict=True)
    ]
    return torch.from_numpy(np.stack([row[:count] for row in rows]).astype(np.int32))


def _generators(recipes: Sequence[Recipe], stream: str) -> Generators:
    return [np.random.default_rng([r.seed, *stream.encode()]) for r in recipes]


def _accuracies(stack: StackedNets, probes: Probes, device: str) -> dict[str, NDArray]:
    """Share of right answers of each net on each probe, [models]."""
    return {
        name: (
            stack.evaluate(images.to(device), labels.to(device))[:, 1] / len(labels)
        ).numpy()
        for name, (images, labels) in probes.items()
    }
