import numpy as np
import pytest
import torch

from nwslib.kernels import _ORDER, N_WEIGHTS
from nwslib.nets import A2, NetSpec, get_net
from nwslib.train import Recipe, Schedule, build_stack, check_request, train_stack


@pytest.fixture
def threads():
    """Set the number of threads in a test and put it back after it."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_kernels_order_is_a_permutation():
    assert sorted(_ORDER) == list(range(N_WEIGHTS))


def test_weights_come_back_in_the_layouts_order(random_images):
    stack, eager = (
        build_stack(
            get_net("A2"), [Recipe(seed=s) for s in range(3)], random_images(8),
            Schedule(1, 4), engine=engine,
        )
        for engine in ("kernel", "eager")
    )  # fmt: skip
    assert torch.equal(stack.weights, eager.weights)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("standardise", [True, False])
def test_an_epoch_equals_the_general_engine(optimizer, standardise, random_images):
    images = random_images(120)
    recipes = [
        Recipe(seed=seed, optimizer=optimizer, lr=lr, weight_decay=0.01)
        for seed, lr in enumerate((1e-3, 3e-3))
    ]
    schedule = Schedule(1, 12, standardise=standardise)
    kernel, eager = (
        train_stack(
            get_net("A2"), recipes, images, schedule, engine=engine, progress=False
        )
        for engine in ("kernel", "eager")
    )
    moved = (eager.weights[:, 1] - eager.weights[:, 0]).abs().max()
    assert moved > 1e-3
    # Adam divides rounding errors of small gradients by small gradients
    tolerance = 1e-6 if optimizer == "sgd" else 5e-5
    assert (kernel.weights - eager.weights).abs().max() < tolerance
    for split in ("train", "test"):
        np.testing.assert_allclose(kernel.loss[split], eager.loss[split], rtol=1e-5)


def test_threads_change_no_bit(random_images, threads):
    images = random_images(24)
    recipes = [Recipe(seed=s, optimizer="adam", lr=1e-3) for s in range(5)]
    runs = []
    for n in (1, 2, 3, 8):  # 8: more threads than models
        threads(n)
        runs.append(
            train_stack(
                get_net("A2"), recipes, images, Schedule(2, 4), engine="kernel",
                progress=False,
            )
        )  # fmt: skip
    for run in runs[1:]:
        assert torch.equal(run.weights, runs[0].weights)
        np.testing.assert_array_equal(run.loss["test"], runs[0].loss["test"])
        np.testing.assert_array_equal(run.loss["train"], runs[0].loss["train"])


def test_evaluation_of_nan_weights_agrees(random_images):
    images = random_images(8, test=30)
    sums = []
    for engine in ("kernel", "eager"):
        recipes = [Recipe(lr=1e30), Recipe(seed=1)]
        trained = train_stack(
            get_net("A2"), recipes, images, Schedule(3, 4), engine=engine,
            progress=False,
        )  # fmt: skip
        assert trained.weights[0, -1].isnan().any()
        sums.append(trained)
    for split in ("train", "test"):
        np.testing.assert_array_equal(
            sums[0].accuracy[split][:, -1], sums[1].accuracy[split][:, -1]
        )
        np.testing.assert_array_equal(
            np.isnan(sums[0].loss[split]), np.isnan(sums[1].loss[split])
        )


def test_a2_on_images_of_another_size_is_not_the_kernels(random_images):
    # 15 x 15 gives the same 8 features, but not the same padding and positions
    net = NetSpec("A2-15", A2, image_size=15)
    images, schedule = random_images(8, size=15), Schedule(1, 4)
    with pytest.raises(ValueError, match="the kernel trains A2 .* on the CPU only"):
        check_request(net, [Recipe()], images, schedule, engine="kernel")
    trained = train_stack(net, [Recipe()], images, schedule, progress=False)
    assert trained.weights.shape == (1, 2, N_WEIGHTS)
