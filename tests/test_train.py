import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nwslib import stacked, train
from nwslib.flatten import Layout
from nwslib.nets import A1, NetSpec, get_net
from nwslib.recipe import LOSSES
from nwslib.train import Recipe, Schedule, train_stack

#: Everything that can train a net without a C++ compiler.
ENGINES = [("A1", "eager"), ("A1", "kernel"), ("A2", "eager"), ("A2", "kernel")]
every_engine = pytest.mark.parametrize(("net", "engine"), ENGINES)

#: Nothing in common: what may differ from model to model does.
MIXED = (
    Recipe(seed=1, optimizer="sgd", lr=0.05, weight_decay=0.03),
    Recipe(seed=2, optimizer="sgd", lr=0.1, momentum=0.0, init="xavier_uniform"),
    Recipe(seed=3, optimizer="adam", lr=0.003, weight_decay=0.1),
    Recipe(seed=4, optimizer="adam", lr=0.001, momentum=0.5, beta2=0.9),
    Recipe(seed=5, optimizer="adamw", lr=0.003, weight_decay=1.0),
    Recipe(seed=6, optimizer="adamw", lr=0.001, beta2=0.99, eps=1e-3, batch_seed=1),
)


def run(net, engine, recipes, images, schedule):
    return train_stack(
        get_net(net), recipes, images, schedule, engine=engine, progress=False
    )


def plain_inputs(images, standardise=True):
    """Float training and test inputs, written out independently."""
    pixels = images.train_images.double() / 255
    mean, std = (pixels.mean(), pixels.std(correction=0)) if standardise else (0, 1)
    return [
        ((x.double() / 255 - mean) / std).float()
        for x in (images.train_images, images.test_images)
    ]


def plain_optimizer(recipe, module):
    same = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(module.parameters(), momentum=recipe.momentum, **same)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    betas = (recipe.momentum, recipe.beta2)
    return kind(module.parameters(), betas=betas, eps=recipe.eps, **same)


PLAIN_LOSSES = {
    "mse": lambda out, y: F.mse_loss(out, F.one_hot(y, 10).float()),
    "mse-class-sum": lambda out, y: (out - F.one_hot(y, 10)).square().sum(1).mean(),
    "mse-sum": lambda out, y: F.mse_loss(
        out, F.one_hot(y, 10).float(), reduction="sum"
    ),
    "cross-entropy": F.cross_entropy,
}


def plain_training(net, start, recipe, batches, loss="mse"):
    """One net by torch.optim from weights ``start``; its vector after each batch."""
    module = get_net(net).build()
    layout = Layout.of(module)
    layout.load(start, module)
    optimizer = plain_optimizer(recipe, module)
    path = []
    for inputs, labels in batches:
        optimizer.zero_grad()
        PLAIN_LOSSES[loss](module(inputs), labels).backward()
        optimizer.step()
        path.append(layout.flatten(module))
    return torch.stack(path)


def distance(left, right):
    return (left - right).abs().max().item()


@every_engine
def test_steps_equal_torch_optim(net, engine, random_images):
    # the whole set in one batch: an epoch is a step and its order does not matter
    images, steps = random_images(24), 10
    trained = run(net, engine, MIXED, images, Schedule(steps, 24))
    batches = [(plain_inputs(images)[0], images.train_labels)] * steps
    for recipe, weights in zip(MIXED, trained.weights, strict=True):
        expected = plain_training(net, weights[0], recipe, batches)
        assert distance(expected[-1], weights[0]) > 1e-3
        # Adam divides rounding errors of small gradients by small gradients
        tolerance = 1e-6 if recipe.optimizer == "sgd" else 1e-5
        assert distance(weights[1:], expected) < tolerance, recipe


@pytest.mark.parametrize(
    ("net", "engine", "loss"),
    [
        (*case, loss)
        for case in ENGINES
        for loss in LOSSES
        # the kernel refuses it, see test_requests_that_cannot_be_trained
        if (case[1], loss) != ("kernel", "cross-entropy")
    ],
)
def test_losses_equal_torchs(net, engine, loss, random_images):
    images, steps = random_images(8), 3
    recipe = Recipe(lr=0.003, weight_decay=0.1)
    schedule = Schedule(steps, 8, loss=loss, standardise=False)
    weights = run(net, engine, [recipe], images, schedule).weights[0]
    inputs = plain_inputs(images, standardise=False)[0]
    batches = [(inputs, images.train_labels)] * steps
    expected = plain_training(net, weights[0], recipe, batches, loss)
    assert distance(weights[1:], expected) < 2e-6


@every_engine
def test_an_epoch_is_disjoint_batches_in_the_batch_seeds_order(
    net, engine, random_images
):
    images = random_images(4)
    inputs, labels = plain_inputs(images)[0], images.train_labels
    firsts = list(combinations(range(4), 2))  # 6 ways to split 4 images in 2 batches
    seeds = range(8)
    recipes = [Recipe(seed=0, batch_seed=seed) for seed in seeds]
    trained = run(net, engine, recipes, images, Schedule(1, 2))
    splits = []
    for recipe, weights in zip(recipes, trained.weights, strict=True):
        ends = []
        for first in firsts:
            order = [list(first), [i for i in range(4) if i not in first]]
            batches = [(inputs[part], labels[part]) for part in order]
            ends.append(plain_training(net, weights[0], recipe, batches)[-1])
        errors = [distance(weights[1], end) for end in ends]
        splits.append(int(np.argmin(errors)))
        assert sorted(errors)[0] < 2e-6 < 1e-4 < sorted(errors)[1]
    assert len(set(splits)) > 2


@every_engine
def test_an_incomplete_batch_is_left_out(net, engine, random_images):
    images = random_images(7)
    lazy = Recipe(lr=0.0)
    trained = run(net, engine, [lazy], images, Schedule(30, 5))
    # five of seven images, others each epoch
    hits = trained.accuracy["train"][0, 1:] * 5
    np.testing.assert_allclose(hits, hits.round(), atol=1e-5)
    assert len(set(trained.loss["train"][0, 1:].round(5))) > 10


@every_engine
def test_seeds_decide_everything_and_nothing_else_does(net, engine, random_images):
    images, schedule = random_images(12), Schedule(2, 4)
    recipes = [
        Recipe(seed=1, lr=1e-3),
        Recipe(seed=1, lr=1e-3, batch_seed=1),
        Recipe(seed=1, lr=1e-3, batch_seed=2),
        Recipe(seed=2, lr=1e-3, batch_seed=1),
        Recipe(seed=1, lr=1e-3, init="normal"),
    ]
    torch.manual_seed(3)
    trained = run(net, engine, recipes, images, schedule)
    torch.manual_seed(4)
    again = run(net, engine, recipes, images, schedule)
    assert torch.equal(trained.weights, again.weights)
    for kind in ("accuracy", "loss"):
        for split in ("train", "test"):
            np.testing.assert_array_equal(
                getattr(trained, kind)[split], getattr(again, kind)[split]
            )

    start, end = trained.weights[:, 0], trained.weights[:, -1]
    assert torch.equal(end[0], end[1])
    assert torch.equal(start[0], start[2]) and not torch.equal(end[0], end[2])
    assert not torch.equal(start[0], start[3])
    assert not torch.equal(start[0], start[4])
    # N(0, 1) against Kaiming's N(0, 2 / fan in), fan in 8 to 196
    assert start[4].std() > 1.5 * start[0].std()


@every_engine
def test_a_model_does_not_depend_on_its_neighbours(net, engine, random_images):
    images, schedule = random_images(60), Schedule(1, 4)
    recipes = [replace(MIXED[k % 6], seed=k) for k in range(250)]
    many = run(net, engine, recipes, images, schedule)
    for k in (0, 1, 122, 249):  # one of each optimizer and each end
        alone = run(net, engine, [recipes[k]], images, schedule)
        if engine == "kernel":
            assert torch.equal(alone.weights[0], many.weights[k])
        else:
            assert distance(alone.weights[0], many.weights[k]) < 1e-5
        for split in ("train", "test"):
            np.testing.assert_allclose(
                alone.loss[split][0], many.loss[split][k], rtol=1e-5
            )


@every_engine
def test_history_is_that_of_a_plain_evaluation(net, engine, random_images):
    images = random_images(40, test=1010)  # more than one chunk of test images
    trained = run(net, engine, MIXED[:3], images, Schedule(3, 40))
    inputs, test_inputs = plain_inputs(images)
    spec = get_net(net)
    for k in range(3):
        for epoch in range(4):
            module = spec.build()
            trained.layout.load(trained.weights[k, epoch], module)
            with torch.no_grad():
                test = module(test_inputs)
                # a whole-set batch is seen before its own step
                seen = module(inputs)
            for split, column, out, labels in (
                ("test", epoch, test, images.test_labels),
                ("train", epoch + 1, seen, images.train_labels),
            ):
                if column > 3:
                    continue
                hits = (out.argmax(1) == labels).double().mean().item()
                loss = PLAIN_LOSSES["mse"](out, labels).item()
                assert trained.accuracy[split][k, column] == pytest.approx(hits)
                assert trained.loss[split][k, column] == pytest.approx(loss, rel=1e-5)
    assert np.isnan(trained.accuracy["train"][:, 0]).all()
    assert np.isnan(trained.loss["train"][:, 0]).all()


def test_cross_entropy_history(random_images):
    images = random_images(16)
    schedule = Schedule(1, 4, loss="cross-entropy")
    trained = run("A1", "eager", MIXED[:1], images, schedule)
    module = trained.layout.load(trained.weights[0, 1], A1())
    loss = F.cross_entropy(module(plain_inputs(images)[1]), images.test_labels)
    assert trained.loss["test"][0, 1] == pytest.approx(loss.item(), rel=1e-5)


@every_engine
def test_training_accuracy_covers_each_image_once(net, engine, random_images):
    images = random_images(40)
    trained = run(net, engine, [Recipe(lr=0.0)], images, Schedule(2, 8))
    module = trained.layout.load(trained.weights[0, 0], get_net(net).build())
    hits = (module(plain_inputs(images)[0]).argmax(1) == images.train_labels).sum()
    assert trained.accuracy["train"][0, 1:] * 40 == pytest.approx(hits.item())


@every_engine
def test_chosen_snapshots(net, engine, random_images):
    images = random_images(8)
    every = run(net, engine, MIXED[:2], images, Schedule(3, 4))
    assert every.snapshots == (0, 1, 2, 3)
    assert every.weights.shape == (2, 4, every.layout.size)
    some = run(net, engine, MIXED[:2], images, Schedule(3, 4, snapshots=(0, 2)))
    assert some.snapshots == (0, 2)
    assert torch.equal(some.weights, every.weights[:, [0, 2]])
    assert some.accuracy["test"].shape == (2, 4)


@every_engine
@pytest.mark.parametrize("snapshots", [None, (0,)])
def test_a_diverged_net_is_flagged_and_alone(net, engine, snapshots, random_images):
    images, schedule = random_images(16), Schedule(3, 4, snapshots=snapshots)
    neighbours = [MIXED[0], MIXED[2]]
    wild = Recipe(seed=9, lr=1e30)
    trained = run(net, engine, [neighbours[0], wild, neighbours[1]], images, schedule)
    calm = run(net, engine, neighbours, images, schedule)
    assert trained.diverged.tolist() == [False, True, False]
    assert not calm.diverged.any()
    assert distance(trained.weights[[0, 2]], calm.weights) < 1e-5
    assert not np.isfinite(trained.loss["test"][1, -1])
    for split in ("train", "test"):
        assert np.isfinite(trained.loss[split][[0, 2], 1:]).all()


@pytest.mark.parametrize("net", ["A1", "A2"])
def test_auto_takes_the_kernel_where_there_is_one(net, random_images):
    images, schedule = random_images(12), Schedule(1, 4)
    auto, kernel = (
        run(net, engine, MIXED, images, schedule) for engine in ("auto", "kernel")
    )
    assert torch.equal(auto.weights, kernel.weights)


@pytest.mark.parametrize(("epochs", "compiles"), [(1, False), (10**5, True)])
def test_auto_compiles_where_that_pays(epochs, compiles, random_images, monkeypatch):
    calls = []
    monkeypatch.setattr(stacked, "_compiled", lambda step: calls.append(step) or step)
    # no kernel has this loss
    schedule = Schedule(epochs, 4, snapshots=(0,), loss="cross-entropy")
    train.build_stack(get_net("A1"), MIXED, random_images(12), schedule)
    assert bool(calls) is compiles


needs_compiler = pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler"
)


# torch's own deprecation warnings are not ours; falling back would be an error
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore", "error:torch.compile is not available")
@needs_compiler
def test_compiled_training_equals_eager(random_images):
    images, schedule = random_images(24), Schedule(2, 8)
    eager, compiled = (
        run("A1", engine, MIXED, images, schedule) for engine in ("eager", "compile")
    )
    assert distance(eager.weights, compiled.weights) < 1e-5
    np.testing.assert_allclose(
        eager.loss["train"], compiled.loss["train"], rtol=1e-5, equal_nan=True
    )


WITHOUT_COMPILER = """
import warnings
import torch
from nwslib.data import ImageSet
from nwslib.nets import get_net
from nwslib.train import Recipe, Schedule, train_stack

images = torch.arange(8 * 196).view(8, 1, 14, 14).to(torch.uint8)
labels = torch.arange(8)
noise = ImageSet("noise", images, labels, images, labels)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    compiled, eager = (
        train_stack(get_net("A1"), [Recipe()], noise, Schedule(2, 4), engine=engine,
                    progress=False).weights
        for engine in ("compile", "eager")
    )
assert torch.equal(compiled, eager)
print(*[w.message for w in caught if w.category is UserWarning], sep="\\n---\\n")
"""


@pytest.mark.slow
def test_without_a_compiler_training_goes_on_and_says_so_in_one_line(tmp_path):
    # a process of its own: torch remembers the compiler it found
    environment = os.environ | {
        "CXX": str(tmp_path / "missing"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("torch.compile is not available here (InvalidCxxCompiler")
    assert line.endswith("training goes on in eager mode, several times slower.")


@pytest.mark.parametrize("progress", [True, False])
def test_progress_says_models_epochs_and_time_left(
    progress, random_images, capsys, eager_log
):
    train_stack(
        get_net("A1"), MIXED, random_images(8), Schedule(2, 4), progress=progress
    )
    shown = capsys.readouterr().err
    if progress:
        last = shown.splitlines()[-1]
        assert last.startswith("A1, 6 models: 2 of 2 epochs") and "left" in last
    else:
        assert shown == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "rmsprop"}, "unknown optimizer 'rmsprop': choose .*'adamw'"),
        ({"init": "zeros"}, "unknown initialisation 'zeros': choose .*'kaiming_norm"),
        ({"seed": -1}, "seeds must not be negative, got Recipe.seed=-1"),
        ({"batch_seed": -2}, "seeds must not be negative, .*batch_seed=-2"),
        ({"lr": -0.1}, "lr is -0.1: give a number from 0 up to inf"),
        ({"lr": math.nan}, "lr is nan: give a number"),
        ({"lr": math.inf}, "lr is inf: give a number"),
        ({"momentum": 1.0}, "momentum is 1.0: give a number from 0 up to 1"),
        ({"momentum": -0.1}, "momentum is -0.1: give"),
        ({"weight_decay": -1e-3}, "weight_decay is -0.001: give a number from 0"),
        ({"beta2": 1.0}, "beta2 is 1.0: give a number from 0 up to 1"),
    ],
)
def test_recipes_that_make_no_sense(given, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "epochs and batch_size must be at least 1, got 0 and 4"),
        ({"batch_size": 0}, "epochs and batch_size must be at least 1, got 3 and 0"),
        ({"loss": "mae"}, "unknown loss 'mae': choose one of .*'cross-entropy'"),
        ({"snapshots": (0, 4)}, r"snapshots \(0, 4\) must be increasing .* 0 to 3"),
        ({"snapshots": (-1, 2)}, r"snapshots \(-1, 2\) must be increasing epochs"),
        ({"snapshots": (2, 1)}, r"snapshots \(2, 1\) must be increasing epochs"),
        ({"snapshots": (1, 1)}, r"snapshots \(1, 1\) must be increasing epochs"),
    ],
)
def test_schedules_that_make_no_sense(given, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**{"epochs": 3, "batch_size": 4} | given)


class Normed(A1):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"recipes": []}, "no recipes: give at least one model"),
        ({"size": 8}, r"A1 takes .* \[1, 14, 14\], 'noise' has \[1, 8, 8\]: .*size=14"),
        ({"channels": 3}, r"'noise' has \[3, 14, 14\]: .* with 1 channel\(s\)"),
        ({"schedule": Schedule(1, 9)}, "batch_size 9 is larger than the 8 training"),
        ({"net": NetSpec("bn", Normed)}, r"bn keeps buffers \(running statistics\)"),
        ({"classes": 11}, "A1 has 10 outputs, 'noise' has 11 classes: choose a set"),
        ({"engine": "jit"}, "unknown engine 'jit': choose auto, kernel, compile or"),
        (
            {"net": NetSpec("A1-copy", A1), "engine": "kernel"},
            "the kernels train A1 and A2 with a squared error on the CPU only: choose",
        ),
        ({"device": "cuda:99"}, "device 'cuda:99' is not available here: choose 'cpu'"),
        ({"device": "gpu"}, "device 'gpu' is not available here: choose 'cpu'"),
        (
            {
                "net": get_net("A2"),
                "engine": "kernel",
                "schedule": Schedule(1, 4, loss="cross-entropy"),
            },
            "the kernels train A1 and A2 with a squared error on the CPU only: choose",
        ),
    ],
)
def test_requests_that_cannot_be_trained(given, message, random_images, monkeypatch):
    monkeypatch.setattr(train, "build_stack", None)  # nothing may have started
    shape = {k: given.pop(k) for k in ("size", "channels", "classes") if k in given}
    request = {
        "net": get_net("A1"),
        "recipes": MIXED,
        "images": random_images(8, **shape),
        "schedule": Schedule(1, 4),
    }
    with pytest.raises(ValueError, match=message):
        train_stack(**request | given)
