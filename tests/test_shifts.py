import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import datasets
from torch.func import functional_call

from nwslib import shifts
from nwslib.flatten import Layout
from nwslib.nets import get_net
from nwslib.train import Recipe, Schedule, build_stack

MODELS, N = 3, 40


def some_images(n=6, size=14, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 1, size, size), generator=generator).to(torch.uint8)


def test_halves_are_disjoint_mixed_and_keep_the_test_images(random_images):
    images = random_images(101)
    images.train_images[:, 0, 0, 0] = torch.arange(101)  # tells them apart
    usual, (fresh, labels) = shifts.halves(images, seed=3)
    one, two = (part[:, 0, 0, 0].tolist() for part in (usual.train_images, fresh))
    assert len(one) == len(two) == 50 and not set(one) & set(two)
    assert one != sorted(one)
    assert torch.equal(labels, images.train_labels[two])
    assert torch.equal(usual.train_labels, images.train_labels[one])
    assert usual.test_images is images.test_images
    again, _ = shifts.halves(images, seed=3)
    assert torch.equal(again.train_images, usual.train_images)


def test_rotation_by_right_angles_moves_pixels():
    images = some_images()
    before = images.clone()
    for quarter in range(4):
        turned = shifts.rotate(images, 90 * quarter)
        assert torch.equal(turned, torch.rot90(images, quarter, (2, 3)))
    assert torch.equal(images, before)


def test_rotation_fills_corners_with_black():
    turned = shifts.rotate(torch.full((1, 1, 14, 14), 255, dtype=torch.uint8), 45)
    assert turned[0, 0, 0, 0] == 0 and turned[0, 0, 7, 7] == 255


def test_noise_has_its_deviation_and_seed():
    grey = torch.full((200, 1, 14, 14), 128, dtype=torch.uint8)
    noisy = shifts.add_noise(grey, 0.1, seed=0)
    change = noisy.double() - 128
    assert abs(change.mean()) < 0.5 and abs(change.std() / 25.5 - 1) < 0.02
    assert torch.equal(noisy, shifts.add_noise(grey, 0.1, seed=0))
    assert not torch.equal(noisy, shifts.add_noise(grey, 0.1, seed=1))
    strong = shifts.add_noise(grey, 10.0, seed=0)  # cut off, not wrapped around
    assert ((strong == 0) | (strong == 255)).float().mean() > 0.9


def test_contrast_scales_the_distance_from_each_images_mean():
    images = torch.tensor([[10, 30], [100, 140]], dtype=torch.uint8)
    images = images.reshape(2, 1, 1, 2)
    low = shifts.change_contrast(images, 0.5)
    assert low.flatten().tolist() == [15, 25, 110, 130]
    assert torch.equal(shifts.change_contrast(images, 1.0), images)


def test_wrong_labels_are_wrong_and_every_other_class_is_as_likely():
    labels = torch.arange(10).repeat(9000)
    wrong = shifts.wrong_labels(labels, 10, seed=0)
    assert (wrong != labels).all()
    for label in (0, 7):
        counts = wrong[labels == label].bincount(minlength=10)
        assert counts[label] == 0
        others = counts[torch.arange(10) != label]
        assert (others / 1000 - 1).abs().max() < 0.15


def test_the_trigger_is_a_white_square_in_one_corner():
    images = torch.zeros(2, 1, 14, 14, dtype=torch.uint8)
    marked = shifts.add_trigger(images)
    assert (images == 0).all()
    rows, columns = torch.nonzero(marked[1, 0]).T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 12, 10, 12)
    assert marked[1].sum() == 9 * 255


@given(share=st.floats(0, 1), seed=st.integers(0, 9))
def test_a_share_is_replaced_one_for_one(share, seed):
    usual = torch.zeros(N, 1, 2, 2, dtype=torch.uint8), torch.arange(N) % 10
    changed = torch.ones_like(usual[0]), usual[1] + 10
    images, labels = shifts.mixed(usual, changed, share, seed)
    replaced = labels >= 10
    assert replaced.sum() == round(share * N)
    assert torch.equal(labels % 10, usual[1])  # each in its place
    assert torch.equal(images[:, 0, 0, 0].bool(), replaced)
    assert (usual[0] == 0).all()


@pytest.mark.parametrize(("n", "share"), [(N - 1, 0.5), (N, -0.1), (N, 1.1)])
def test_a_share_that_makes_no_sense(n, share):
    usual = torch.zeros(N, 1, 2, 2, dtype=torch.uint8), torch.zeros(N).long()
    changed = usual[0][:n], usual[1][:n]
    with pytest.raises(ValueError, match=f"share of {share} of 40 images from {n} "):
        shifts.mixed(usual, changed, share, 0)


@pytest.fixture
def attacked_stack(random_images):
    """Return a function: a stack of nets, images and labels of each net's own."""

    def make(net, engine="auto"):
        images = random_images(MODELS * N)
        recipes = [Recipe(seed=s) for s in range(MODELS)]
        stack = build_stack(
            get_net(net), recipes, images, Schedule(1, 4), engine=engine
        )
        x = images.train_images.reshape(MODELS, N, 1, 14, 14)
        return stack, x, images.train_labels.reshape(MODELS, N), images

    return make


def losses(stack, net, images, labels, everything):
    """Per-sample losses by plain modules, [models, n]."""
    layout, pixels = Layout.of(get_net(net).build()), everything.train_images / 255.0
    mean, std = pixels.mean(), pixels.std(correction=0)
    rows = []
    for weights, x, y in zip(stack.weights, images, labels, strict=True):
        module = layout.load(weights, get_net(net).build())
        outputs = functional_call(
            module, dict(module.named_parameters()), ((x / 255 - mean) / std,)
        )
        targets = torch.nn.functional.one_hot(y, 10)
        rows.append((outputs - targets).square().mean(-1))
    return torch.stack(rows)


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("net", ["A1", "A2"])
def test_fgsm_goes_one_step_up_the_loss_of_each_net(net, engine, attacked_stack):
    stack, x, y, everything = attacked_stack(net, engine)
    epsilon = 8 / 255
    made = shifts.fgsm(stack, x, y, epsilon)
    start = x.float().requires_grad_()
    losses(stack, net, start, y, everything).sum().backward()
    clear = start.grad.abs() > 1e-6 * start.grad.abs().max()  # else signs may differ
    expected = (x + 8 * start.grad.sign()).clamp(0, 255)
    assert clear.float().mean() > 0.3  # A2 reads not every pixel
    assert torch.equal(made[clear].float(), expected[clear])
    with torch.no_grad():
        before = losses(stack, net, x.float(), y, everything)
        after = losses(stack, net, made.float(), y, everything)
    assert (after > before).float().mean() > 0.9
    assert made.dtype == torch.uint8
    assert torch.equal(x.flatten(0, 1), everything.train_images)  # as they were


@pytest.mark.parametrize("net", ["A1", "A2"])
def test_pgd_stays_in_reach_and_beats_fgsm(net, attacked_stack):
    stack, x, y, everything = attacked_stack(net)
    epsilon = 25.5 / 255
    made = shifts.pgd(stack, x, y, epsilon, steps=10, seed=1)
    assert (made.int() - x.int()).abs().max() <= 26  # rounded
    quick = shifts.fgsm(stack, x, y, epsilon)
    with torch.no_grad():
        strong, weak = (
            losses(stack, net, images.float(), y, everything).mean()
            for images in (made, quick)
        )
    assert strong >= 0.99 * weak
    assert torch.equal(made, shifts.pgd(stack, x, y, epsilon, steps=10, seed=1))
    assert not torch.equal(made, shifts.pgd(stack, x, y, epsilon, steps=10, seed=2))


def test_pgd_without_steps_is_its_random_start(attacked_stack):
    stack, x, y, _ = attacked_stack("A1")
    start = shifts.pgd(stack, x, y, 0.1, steps=0)
    change = start.float() - x.float()
    inside = (x > 26) & (x < 229)
    assert change[inside].abs().max() <= 26
    assert abs(change[inside].mean()) < 0.5
    assert abs(change[inside].std() - 51 / 12**0.5) < 0.5  # uniform


def test_photo_patches_come_from_the_strip_that_their_label_says(monkeypatch):
    photos = np.zeros((2, 427, 640, 3))
    for label in range(10):
        photo, strip = divmod(label, 5)
        photos[photo, :, 128 * strip : 128 * (strip + 1)] = 20 * label + 5

    class Bunch:
        images = list(photos)

    monkeypatch.setattr(datasets, "load_sample_images", Bunch)
    images, labels = shifts.photo_patches(300, 14, seed=0)
    assert images.shape == (300, 1, 14, 14) and images.dtype == torch.uint8
    assert (labels.bincount(minlength=10) > 10).all()
    assert (images == (20 * labels + 5)[:, None, None, None]).all()


def test_photo_patches_are_real_and_reproducible():
    images, labels = shifts.photo_patches(50, 14, seed=1)
    again, _ = shifts.photo_patches(50, 14, seed=1)
    assert torch.equal(images, again) and len(labels) == 50
    assert images.float().std((1, 2, 3)).median() > 5
