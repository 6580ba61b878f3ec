from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nwslib.nets import NetSpec, get_net
from nwslib.readings import A1_READING, Reading
from nwslib.recipe import Recipe
from nwslib.retraining import (
    Condition,
    Plan,
    all_of,
    attacked,
    continue_training,
    fork,
    pretrain,
    without_class,
)

PLAN = Plan(images=40, unseen=2, before=3, after=2)
ADAM = Reading("Adam", Recipe(optimizer="adam", lr=1e-3), batch_size=6)


def generators(models, seed=0):
    return [np.random.default_rng([seed, k]) for k in range(models)]


@pytest.fixture
def begun(random_images):
    """Return a function that trains a few nets up to the change."""

    def begin(net="A1", reading=A1_READING, plan=PLAN, models=3, **given):
        images = random_images(60)
        return pretrain(get_net(net), reading, models, images, plan, **given)

    return begin


def in_turn(images, labels):
    """Feed of one order for all, which goes on where it ended: no randomness."""
    place = 0

    def feed(stack, rngs, count):
        nonlocal place
        order = (torch.arange(count) + place).remainder(len(labels)).int()
        place += count
        return images, labels, order.expand(len(rngs), -1).contiguous()

    return feed


@pytest.mark.parametrize(("net", "reading"), [("A1", A1_READING), ("A2", ADAM)])
def test_a_continuation_goes_on_as_if_nothing_had_happened(
    net, reading, random_images, monkeypatch
):
    images = random_images(60)
    feeds = {}

    def fixed(x, y):
        return feeds.setdefault("feed", in_turn(x, y))

    monkeypatch.setattr("nwslib.retraining.all_of", fixed)
    start = pretrain(get_net(net), reading, 2, images, PLAN)
    run = continue_training(start, "on", Condition(feeds.pop("feed")))
    whole = pretrain(get_net(net), reading, 2, images, replace(PLAN, before=5))
    joined = np.concatenate([start.weights, run.weights], 1)
    np.testing.assert_array_equal(joined, whole.weights)
    accuracy = np.concatenate([start.accuracy, run.accuracy["held-out"]], 1)
    np.testing.assert_array_equal(accuracy, whole.accuracy)


def test_checkpoints_and_steps_are_the_plans(begun):
    start = begun()
    assert start.weights.shape == (3, 4, 2160)
    assert start.accuracy.shape == (3, 4)
    assert start.steps == 5 * 10  # 40 images in batches of 4
    longer = begun(plan=replace(PLAN, unseen=0))
    assert longer.weights.shape == (3, 4, 2160)
    assert not np.array_equal(longer.weights, start.weights)
    # the initial weights are a checkpoint if none passes unseen
    assert np.array_equal(
        longer.weights[:, 2], begun(plan=replace(PLAN, before=1)).weights[:, 0]
    )


def test_the_start_is_not_moved_and_names_decide_the_order(begun):
    start = begun()
    X, Y = start.usual.train_images, start.usual.train_labels
    first, again, other = (
        continue_training(start, name, Condition(all_of(X, Y)))
        for name in ("one", "one", "two")
    )
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)
    np.testing.assert_array_equal(start.weights[:, -1], start.state[0].numpy())
    assert torch.equal(fork(start).weights, start.state[0])


def test_the_learning_rate_changes_the_step_and_nothing_else(begun):
    start = begun(plan=Plan(images=4, unseen=3, before=1, after=1))
    steps = {}
    for factor in (0.0, 1.0, 2.0):
        feed = in_turn(start.usual.train_images, start.usual.train_labels)
        run = continue_training(start, "lr", Condition(feed, lr=factor))
        steps[factor] = run.weights[:, 0] - start.weights[:, -1]
    assert (steps[0.0] == 0).all()
    assert np.abs(steps[1.0]).max() > 1e-4
    # same momentum, same gradient: twice the step, to rounding of the weights
    np.testing.assert_allclose(steps[2.0], 2 * steps[1.0], atol=1e-6)


def test_all_of_gives_every_image_as_often(random_images):
    images = random_images(30)
    feed = all_of(images.train_images, images.train_labels)
    _, _, order = feed(None, generators(4), 75)
    assert order.shape == (4, 75) and order.dtype == torch.int32
    for row in order:
        counts = row.bincount(minlength=30)
        assert counts.min() == 2 and counts.max() == 3
    assert not torch.equal(order[0], order[1])


def test_each_net_misses_one_class_in_as_many_images(random_images):
    images = random_images(200)
    feed = without_class(images.train_images, images.train_labels, 10)
    _, labels, order = feed(None, generators(12), 500)
    assert order.shape == (12, 500)
    for k, row in enumerate(order):
        seen = labels[row.long()].bincount(minlength=10)
        assert seen[k % 10] == 0
        assert (seen > 0).sum() == 9


@pytest.mark.parametrize("count", [20, 100])  # fewer and more than there are images
def test_attacked_images_are_each_nets_own(count, random_images):
    images = random_images(60)
    X, Y = images.train_images, images.train_labels
    X[:, 0, 0, 0] = torch.arange(60)  # tells them apart
    calls = []

    def attack(stack, x, y, seed):
        calls.append((stack, seed))
        marked = x.clone()
        marked[:, :, 0, 0, 1] = torch.arange(len(x))[:, None]  # of this net
        return marked

    class Stack:
        weights = torch.zeros(3, 1)

    feed, stack = attacked(X, Y, attack), Stack()
    pool, labels, order = feed(stack, generators(3), count)
    n = min(count, 60)
    assert pool.shape == (3 * n, 1, 14, 14) and order.shape == (3, count)
    for k, row in enumerate(order.long()):
        assert (pool[row, 0, 0, 1] == k).all()
        original = pool[row, 0, 0, 0].long()
        assert torch.equal(labels[row], Y[original])
        assert len(original.unique()) == n
    assert {met for met, _ in calls} == {stack}
    feed(stack, generators(3, seed=1), count)
    assert len({seed for _, seed in calls}) == len(calls)


def test_attacks_meet_the_current_weights(begun):
    start = begun()
    X, Y = start.usual.train_images, start.usual.train_labels
    met = []

    def attack(stack, x, y, seed):
        met.append(stack.weights)
        return x

    run = continue_training(start, "attack", Condition(attacked(X, Y, attack)))
    assert len(met) == 2
    assert torch.equal(met[0], start.state[0])
    np.testing.assert_array_equal(met[1].numpy(), run.weights[:, 0])


def test_probes_are_measured_beside_the_held_out_images(begun, random_images):
    start = begun()
    X, Y = start.usual.train_images, start.usual.train_labels
    right = fork(start)
    probe = random_images(30, seed=5)
    run = continue_training(
        start, "probe", Condition(all_of(X, Y), lr=0.0),
        {"probe": (probe.train_images, probe.train_labels)}, after=1,
    )  # fmt: skip
    hits = right.evaluate(probe.train_images, probe.train_labels)[:, 1] / 30
    np.testing.assert_array_equal(run.accuracy["probe"][:, 0], hits)
    np.testing.assert_array_equal(run.accuracy["held-out"][:, 0], start.accuracy[:, -1])
    assert run.weights.shape == (3, 1, 2160)


def test_any_module_can_go_on(random_images):
    net = NetSpec("tiny", lambda: nn.Sequential(nn.Flatten(), nn.Linear(196, 10)))
    images = random_images(60)
    plan = Plan(images=12, unseen=0, before=1, after=1)
    start = pretrain(net, ADAM, 2, images, plan)
    run = continue_training(
        start, "on", Condition(all_of(images.train_images, images.train_labels))
    )
    assert run.weights.shape == (2, 1, 1970)
    assert np.isfinite(run.weights).all()


@pytest.mark.parametrize(
    "given", [{"images": 0}, {"before": 0}, {"after": 0}, {"unseen": -1}]
)
def test_plans_that_make_no_sense(given):
    with pytest.raises(ValueError, match="at least one image, one checkpoint"):
        Plan(**given)


def test_a_checkpoint_within_a_batch_is_refused(begun):
    with pytest.raises(ValueError, match="every 3 images is less than a batch of 4"):
        begun(plan=Plan(images=3))


def test_images_that_do_not_fit_are_refused(random_images):
    with pytest.raises(ValueError, match="A1 takes images of shape"):
        pretrain(get_net("A1"), A1_READING, 2, random_images(60, size=8), PLAN)
