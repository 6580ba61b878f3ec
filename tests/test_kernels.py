import numpy as np
import pytest
import torch

from nwslib.flatten import Layout
from nwslib.kernels import KERNELS
from nwslib.kernels.a1 import _sigmoid
from nwslib.nets import A2, NetSpec, get_net
from nwslib.train import Recipe, Schedule, build_stack, check_request, train_stack

every_kernel = pytest.mark.parametrize("net", sorted(KERNELS))


@pytest.fixture
def threads():
    """Set the number of threads in a test and put it back after it."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@every_kernel
def test_a_kernels_order_is_a_permutation_of_the_layout(net):
    order = KERNELS[net].ORDER
    assert sorted(order) == list(range(Layout.of(get_net(net).build()).size))


@every_kernel
def test_weights_come_back_in_the_layouts_order(net, random_images):
    stack, eager = (
        build_stack(
            get_net(net), [Recipe(seed=s) for s in range(3)], random_images(8),
            Schedule(1, 4), engine=engine,
        )
        for engine in ("kernel", "eager")
    )  # fmt: skip
    assert torch.equal(stack.weights, eager.weights)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("standardise", [True, False])
@every_kernel
def test_an_epoch_equals_the_general_engine(net, optimizer, standardise, random_images):
    images = random_images(120)
    recipes = [
        Recipe(seed=seed, optimizer=optimizer, lr=lr, weight_decay=0.01)
        for seed, lr in enumerate((1e-3, 3e-3))
    ]
    schedule = Schedule(1, 12, standardise=standardise)
    kernel, eager = (
        train_stack(
            get_net(net), recipes, images, schedule, engine=engine, progress=False
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


@pytest.mark.parametrize("batch_size", [1, 3, 4, 5, 7, 12])
@every_kernel
def test_any_batch_size_equals_the_general_engine(net, batch_size, random_images):
    # A1's kernel takes four images at a time: batches, tests that four divides or not
    images = random_images(24, test=batch_size)
    recipes = [Recipe(seed=s, lr=0.03, weight_decay=0.01) for s in range(2)]
    schedule = Schedule(2, batch_size)
    kernel, eager = (
        train_stack(
            get_net(net), recipes, images, schedule, engine=engine, progress=False
        )
        for engine in ("kernel", "eager")
    )
    assert (kernel.weights - eager.weights).abs().max() < 1e-5
    for split in ("train", "test"):
        np.testing.assert_array_equal(kernel.accuracy[split], eager.accuracy[split])
        np.testing.assert_allclose(kernel.loss[split], eager.loss[split], rtol=1e-5)


def test_sigmoid_equals_torchs():
    rng = np.random.default_rng(0)
    special = [0, -0.0, 87, -87, 88, -88, 104, -104, 1e38, -1e38, np.inf, -np.inf]
    z = np.concatenate([rng.normal(scale=20, size=100_000), special, [np.nan]])
    z = z.astype(np.float32)
    ours = np.empty_like(z)
    _sigmoid(z, np.empty(z.size, np.int32), ours)
    exact = torch.from_numpy(z).double().sigmoid().numpy()
    assert np.isnan(ours[-1])
    large = exact > 1e-36  # beyond, exp(-z) is held at the edge of float32
    np.testing.assert_allclose(ours[large], exact[large], rtol=3e-7)
    np.testing.assert_allclose(ours[:-1], exact[:-1], rtol=0, atol=2e-7)


@every_kernel
def test_threads_change_no_bit(net, random_images, threads):
    images = random_images(24)
    recipes = [Recipe(seed=s, optimizer="adam", lr=1e-3) for s in range(5)]
    runs = []
    for n in (1, 2, 3, 8):  # 8: more threads than models
        threads(n)
        runs.append(
            train_stack(
                get_net(net), recipes, images, Schedule(2, 4), engine="kernel",
                progress=False,
            )
        )  # fmt: skip
    for run in runs[1:]:
        assert torch.equal(run.weights, runs[0].weights)
        np.testing.assert_array_equal(run.loss["test"], runs[0].loss["test"])
        np.testing.assert_array_equal(run.loss["train"], runs[0].loss["train"])


@every_kernel
def test_evaluation_of_nan_weights_agrees(net, random_images):
    images = random_images(8, test=30)
    sums = []
    for engine in ("kernel", "eager"):
        recipes = [Recipe(lr=1e30), Recipe(seed=1)]
        trained = train_stack(
            get_net(net), recipes, images, Schedule(3, 4), engine=engine,
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
    with pytest.raises(ValueError, match="the kernels train .* on the CPU only"):
        check_request(net, [Recipe()], images, schedule, engine="kernel")
    trained = train_stack(net, [Recipe()], images, schedule, progress=False)
    assert trained.weights.shape == (1, 2, 1376)


@every_kernel
def test_subnormal_numbers_are_zero_in_the_kernels_threads_only(net, random_images):
    images = random_images(8)
    stack = build_stack(
        get_net(net), [Recipe(lr=0.0)], images, Schedule(1, 4), engine="kernel"
    )
    stack._weights[:] = 1e-40
    order = torch.arange(8, dtype=torch.int32)[None]
    stack.train(images.train_images, images.train_labels, order, 0)
    assert (stack.weights == 0).all()
    assert torch.tensor([1e-40]).mul(1.0).item() > 0


@every_kernel
def test_training_goes_on_from_a_loaded_state_bit_for_bit(net, random_images):
    images = random_images(24)
    x, y = images.train_images, images.train_labels
    recipes = [Recipe(seed=s, optimizer="adam", lr=1e-3) for s in range(3)]

    def build(engine):
        return build_stack(get_net(net), recipes, images, Schedule(1, 4), engine=engine)

    order = torch.arange(24, dtype=torch.int32).repeat(3, 1)
    through = build("kernel")
    through.train(x, y, order, 0)
    state = through.state
    for engine in ("kernel", "eager"):
        other = build(engine)
        other.load(state)
        for mine, theirs in zip(other.state, state, strict=True):
            assert torch.equal(mine, theirs)
    through.train(x, y, order, 6)
    assert not torch.equal(through.state[0], state[0])  # which was a copy
    resumed = build("kernel")
    resumed.load(state)
    resumed.train(x, y, order, 6)
    for mine, theirs in zip(resumed.state, through.state, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("n", [1, 6])  # A1's kernel takes four images at a time
@every_kernel
def test_input_gradients_equal_the_general_engine(net, n, standardise, random_images):
    images = random_images(3 * n)
    x = images.train_images.reshape(3, n, 1, 14, 14).float() + 0.25
    y = images.train_labels.reshape(3, n)
    slopes = [
        build_stack(
            get_net(net), [Recipe(seed=s) for s in range(3)], images,
            Schedule(1, 4, standardise=standardise), engine=engine,
        ).input_gradients(x, y)
        for engine in ("kernel", "eager")
    ]  # fmt: skip
    assert slopes[1].abs().max() > 1e-6
    scale = slopes[1].abs().amax((2, 3, 4), keepdim=True)
    assert ((slopes[0] - slopes[1]) / scale).abs().max() < 1e-4
