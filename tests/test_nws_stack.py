"""Nets trained in one stack are those trained one by one."""

import dataclasses
import time

import numpy as np
import pytest
import torch

from nwslib.nws import stack, stopping, training
from nwslib.nws.architecture import Architecture
from nwslib.nws.course import SPLITS, Budget
from nwslib.nws.hyperparameters import OPTIMIZERS, HyperParameters
from nwslib.nws.images import as_input, prepare
from nwslib.nws.stack import stackable, train_stack
from nwslib.nws.stacked_nets import NetStack
from nwslib.nws.training import train

SMALL = Architecture(3, 4, 3, 16, 64)
PLAIN = dataclasses.replace(SMALL, batch_norm=False)

# One of each optimizer, every initialisation, with and without augmentation.
MIXED = [
    HyperParameters("a", 1e-3, 16, False, "adam", "elu", "glorot_normal", SMALL),
    HyperParameters("b", 4e-3, 16, True, "rmsprop", "elu", "glorot_uniform", SMALL),
    HyperParameters("a", 2e-3, 16, True, "momentum", "elu", "normal", SMALL),
    HyperParameters("c", 5e-3, 16, False, "rmsprop", "elu", "constant", SMALL),
]


@pytest.fixture
def images(random_images):
    """Three sets whose epochs have different numbers of steps."""
    return {
        "a": prepare(random_images(60, 25, channels=3, size=32, seed=1), name="a"),
        "b": prepare(random_images(40, 31, size=28, seed=2), name="b", passes=2),
        "c": prepare(
            random_images(120, 7, classes=3, channels=3, size=32, seed=3),
            name="c", balanced=True,
        ),
    }  # fmt: skip


@pytest.fixture
def double(monkeypatch):
    """Both engines in float64: see ``double`` in test_nws_nets."""
    for module in (training, stack):
        monkeypatch.setattr(
            module, "as_input", lambda pixels: as_input(pixels).double()
        )
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def alone(given, images, budget, runs, seed=4):
    return [
        train(each, images[each.dataset], budget, seed=seed, run=run)
        for each, run in zip(given, runs, strict=True)
    ]


def together(given, images, budget, runs, seed=4, device="cpu"):
    return train_stack(given, images, budget, seed=seed, runs=runs, device=device)


def first_told(given):
    """First epoch whose scores are not rounding's.

    Constant weights give all classes one score, and rounding says which is largest.
    """
    return int(given.init == "constant")


def assert_close(given, ours, theirs, weights, rounding, loss):
    """Equal, convolutions' biases and means to ``rounding`` (see ``double``)."""
    layout = given.architecture.layout
    odd = torch.zeros(layout.size, dtype=torch.bool)
    for piece in layout if given.architecture.batch_norm else ():
        if piece.layer.startswith("conv") and piece.kind in ("bias", "mean"):
            odd[piece.start : piece.stop] = given.optimizer != "momentum"
    assert ours.weights.shape == theirs.weights.shape
    assert ours.weights.device.type == "cpu"
    torch.testing.assert_close(ours.weights[0], theirs.weights[0], rtol=0, atol=0)
    torch.testing.assert_close(
        ours.weights[:, ~odd], theirs.weights[:, ~odd], rtol=weights, atol=weights / 10
    )
    torch.testing.assert_close(
        ours.weights[:, odd], theirs.weights[:, odd], rtol=0, atol=rounding
    )
    for name in ("kept_epochs", "stopped", "steps", "epochs"):
        assert getattr(ours, name) == getattr(theirs, name)
    first = first_told(given)
    for name in SPLITS:
        np.testing.assert_allclose(
            ours.accuracy[name][first:], theirs.accuracy[name][first:]
        )
        np.testing.assert_allclose(ours.loss[name], theirs.loss[name], rtol=loss)


def test_a_stack_trains_each_net_as_it_would_alone(images, double):
    runs = [7, 3, 12, 0]
    ours = together(MIXED, images, Budget(3, 4), runs)
    theirs = alone(MIXED, images, Budget(3, 4), runs)
    assert [net.steps for net in ours] == [9, 12, 9, 15]
    for given, one, other in zip(MIXED, ours, theirs, strict=True):
        assert_close(given, one, other, 1e-7, 1e-5, 1e-4)
        assert one.weights.dtype == torch.float64
        moved = one.weights[1:, SMALL.layout.select(kind="var")] != 1
        assert moved.all()


def assert_near(ours, theirs):
    """Equal but for a hundredth of the way they went.

    In float32 a max-pool now and then picks another pixel, which single weights show.
    """
    way = (theirs.weights[-1] - theirs.weights[0]).norm()
    assert way > 0.1
    assert (ours.weights[-1] - theirs.weights[-1]).norm() < way / 100
    for name in SPLITS:
        np.testing.assert_allclose(ours.loss[name], theirs.loss[name], rtol=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_single_precision_agrees_as_far_as_it_goes(optimizer, images):
    """Without batch norm, or without dividing by the gradient: see ``double``."""
    a = SMALL if optimizer == "momentum" else PLAIN
    given = [
        HyperParameters("a", lr, 16, True, optimizer, "tanh", "glorot_normal", a)
        for lr in (1e-3, 2e-3)
    ]
    ours = together(given, images, Budget(2, 3), [0, 1])
    theirs = alone(given, images, Budget(2, 3), [0, 1])
    for one, other in zip(ours, theirs, strict=True):
        assert one.weights.dtype == torch.float32
        assert_near(one, other)


def test_nets_that_are_stopped_leave_the_stack(images, double, monkeypatch):
    def rule(accuracies):  # by what each net's own accuracies are
        if len(accuracies) > 1 and max(accuracies) > 0.1:
            return "overfits"
        return "noisy" if len(accuracies) == 4 else None

    monkeypatch.setattr(stopping, "reason_to_stop", rule)
    runs = list(range(6))
    given = [MIXED[k % 4] for k in runs]
    widths = []
    step = NetStack.step
    monkeypatch.setattr(
        NetStack, "step",
        lambda self, x, *others: (widths.append(len(x)), step(self, x, *others)),
    )  # fmt: skip
    budget = Budget(5, 2)
    ours, theirs = together(given, images, budget, runs), alone(
        given, images, budget, runs
    )  # fmt: skip
    assert len({net.epochs for net in ours}) > 1
    assert {net.stopped for net in ours} == {"overfits", "noisy"}
    assert sum(widths) == sum(net.steps for net in ours)  # none is trained in vain
    for each, one, other in zip(given, ours, theirs, strict=True):
        assert_close(each, one, other, 1e-6, 1e-4, 1e-3)


def test_company_makes_no_difference_but_rounding(images, double):
    few = together(MIXED[2:0:-1], images, Budget(2, 3), [5, 9])
    many = together([*MIXED, MIXED[0]], images, Budget(2, 3), [1, 9, 5, 3, 8])
    for each, one, other in zip(MIXED[2:0:-1], few, [many[2], many[1]], strict=True):
        assert_close(each, one, other, 1e-7, 1e-5, 1e-4)


def test_a_diverging_net_harms_no_other(images, double):
    wild = dataclasses.replace(MIXED[2], lr=1e300)
    ours = together([wild, MIXED[0]], images, Budget(2, 3), [0, 1])
    assert not ours[0].weights[-1].isfinite().all()
    assert not np.isfinite(ours[0].loss["test"][-1])
    (other,) = alone([MIXED[0]], images, Budget(2, 3), [1])
    assert_close(MIXED[0], ours[1], other, 1e-7, 1e-5, 1e-4)


def test_evaluation_in_pieces_is_evaluation(images, double, monkeypatch):
    whole = together(MIXED, images, Budget(1, 2), [0, 1, 2, 3])
    monkeypatch.setattr(stack, "_EVALUATED", 6)
    pieces = together(MIXED, images, Budget(1, 2), [0, 1, 2, 3])
    for given, one, other in zip(MIXED, pieces, whole, strict=True):
        assert torch.equal(one.weights, other.weights)
        first = first_told(given)
        for name in SPLITS:
            np.testing.assert_array_equal(
                one.accuracy[name][first:], other.accuracy[name][first:]
            )
            np.testing.assert_allclose(
                one.loss[name][first:], other.loss[name][first:], rtol=1e-12
            )


def test_results_are_those_of_training_alone_in_kind(images):
    start = time.perf_counter()
    one, other = together(MIXED[:2], images, Budget(4, 3), [0, 1])
    wall = time.perf_counter() - start
    assert one.kept_epochs == (0, 2, 4) and one.stopped == "limit" and one.epochs == 4
    assert one.weights.shape == (3, SMALL.n_weights)
    assert 0 < one.seconds == other.seconds and one.seconds + other.seconds < wall
    for table in (one.accuracy, one.loss):
        assert list(table) == list(SPLITS)
        assert all(values.shape == (5,) for values in table.values())


def test_kept_weights_do_not_keep_the_whole_path(images):
    (one,) = together(MIXED[:1], images, Budget(4, 2), [0])
    assert one.weights.untyped_storage().nbytes() == 2 * SMALL.n_weights * 4


def test_one_key_for_what_can_be_stacked():
    assert len({stackable(given) for given in MIXED}) == 1
    for change in (
        {"batch_size": 32}, {"activation": "relu"}, {"architecture": PLAIN},
    ):  # fmt: skip
        assert stackable(dataclasses.replace(MIXED[0], **change)) != stackable(MIXED[0])


@pytest.mark.parametrize(
    ("given", "runs", "message"),
    [
        (MIXED, [0, 1], "4 hyper-parameters for 2 runs: give one each"),
        ([], [], "a stack needs runs of one architecture, batch size and activation"),
        (
            [MIXED[0], dataclasses.replace(MIXED[0], batch_size=32)], [0, 1],
            "one architecture, batch size and activation: group them by",
        ),
        (
            [dataclasses.replace(MIXED[0], dataset="d")], [0],
            r"no images of 'd' among \['a', 'b', 'c'\]: give the set of every run",
        ),
        (
            [dataclasses.replace(MIXED[0], batch_size=64)], [5],
            "an epoch of 'a' has fewer images than a batch of 64: give more, or "
            "train run 5 alone",
        ),
    ],
)  # fmt: skip
def test_runs_that_make_no_stack_are_refused(given, runs, message, images):
    with pytest.raises(ValueError, match=message):
        together(given, images, Budget(2, 2), runs)


def test_a_missing_device_is_said(images):
    with pytest.raises(ValueError, match="device 'cuda:77' is not available here"):
        together(MIXED, images, Budget(2, 2), range(4), device="cuda:77")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("ignore")  # torch's advice to trade precision for speed
def test_a_gpu_trains_as_the_cpu_does(images):
    given = [
        HyperParameters(name, 1e-3, 16, True, optimizer, "elu", "glorot_normal", PLAIN)
        for name, optimizer in (("a", "adam"), ("b", "rmsprop"), ("c", "momentum"))
    ]
    ours = together(given, images, Budget(2, 3), [0, 1, 2], device="cuda")
    again = together(given, images, Budget(2, 3), [0, 1, 2], device="cuda")
    theirs = alone(given, images, Budget(2, 3), [0, 1, 2])
    for one, same, other in zip(ours, again, theirs, strict=True):
        assert torch.equal(one.weights, same.weights)
        assert_near(one, other)
