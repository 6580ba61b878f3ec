"""The sampled family of nets: what is drawn, how it is built, how it is trained."""

import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given as such_that
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn import functional as F

from nwslib import data
from nwslib.nws import (
    architecture,
    augmentation,
    course,
    hyperparameters,
    stopping,
    training,
)
from nwslib.nws.architecture import (
    ACTIVATIONS,
    FIXED,
    GRID,
    INITIALISATIONS,
    Architecture,
    Net,
    dropout_masks,
    initialise,
)
from nwslib.nws.course import SPLITS, Budget
from nwslib.nws.hyperparameters import OPTIMIZERS, HyperParameters, draw, stream
from nwslib.nws.images import as_input, epoch_order, prepare, split
from nwslib.nws.stopping import kept_epochs, reason_to_stop, smoothed
from nwslib.nws.training import evaluate, train

SMALLEST = Architecture(3, 3, 3, 16, 64)
LARGEST = Architecture(7, 5, 5, 48, 192)
SETS = ("mnist", "fashion", "cifar10", "svhn", "stl10")


# --- the family ---------------------------------------------------------------


def counted(a):
    """Weights of convolutions and of all layers, by hand."""
    w, five, four = a.conv_width // 4, a.conv_layers > 4, a.conv_layers > 3
    kernels = 3 * w + w * 2 * w + five * (2 * w) ** 2 + 2 * w * 4 * w
    kernels += four * (4 * w) ** 2
    units = w + 2 * w * (1 + five) + 4 * w * (1 + four)
    numbers = 5 if a.batch_norm else 1  # b, beta, gamma, mean, var
    conv = a.filter_size**2 * kernels + numbers * units
    widths = [a.fc_width // 2**k for k in range(a.fc_layers - 1)]
    inputs = [4 * 4 * 4 * w, *widths]
    fc = sum(m * n for m, n in zip(inputs, [*widths, 20], strict=True))
    return conv, conv + fc + numbers * sum(widths) + 20


def test_all_243_architectures_have_the_right_size():
    assert len(set(GRID)) == len({a.name for a in GRID}) == 243
    sizes = []
    for a in GRID:
        layout = a.layout
        conv = sum(p.size for p in layout if p.layer.startswith("conv"))
        assert (conv, layout.size) == counted(a), a.name
        sizes.append(layout.size)
    assert (min(sizes), max(sizes)) == (21_260, 388_172)
    assert SMALLEST.n_weights == 21_260 and LARGEST.n_weights == 388_172


def test_the_fixed_architecture_has_the_papers_size():
    assert FIXED in GRID
    assert FIXED.n_weights == 92_868 == 16_880 + 75_988
    assert FIXED.n_conv_weights == 16_880
    assert FIXED.name == "f5-c3x32-d3x128"


def test_nets_without_batch_norm_have_only_weights_and_biases():
    plain = Architecture(batch_norm=False)
    assert (plain.n_conv_weights, plain.n_weights) == counted(plain)
    assert plain.layout.kinds == ("weight", "bias")
    assert plain.name == "f5-c3x32-d3x128-plain"


def test_layers_are_those_of_algorithm_1():
    conv = [(x.inputs, x.outputs, x.pool) for x in LARGEST.layers if x.filter_size]
    assert conv == [
        (3, 12, True), (12, 24, False), (24, 24, True), (24, 48, False), (48, 48, True)
    ]  # fmt: skip
    fc = [(x.name, x.inputs, x.outputs) for x in LARGEST.layers if not x.filter_size]
    assert fc == [
        ("fc1", 768, 192), ("fc2", 192, 96), ("fc3", 96, 48), ("fc4", 48, 24),
        ("fc5", 24, 20),
    ]  # fmt: skip
    four = Architecture(conv_layers=4)
    assert [x.pool for x in four.layers[:4]] == [True, True, False, True]
    assert [x.outputs for x in four.layers[:4]] == [8, 16, 32, 32]
    assert [x.hidden for x in four.layers] == [True] * 6 + [False]


def test_the_vector_is_ordered_layer_by_layer():
    shapes = [
        (layer, shape, units)
        for layer, shape, units in (
            ("conv1", (8, 3, 5, 5), 8),
            ("conv2", (16, 8, 5, 5), 16),
            ("conv3", (32, 16, 5, 5), 32),
            ("fc1", (128, 512), 128),
            ("fc2", (64, 128), 64),
            ("fc3", (20, 64), 20),
        )
    ]
    kinds = ("bias", "beta", "gamma", "mean", "var")
    expected = []
    for layer, shape, units in shapes:
        expected.append((f"{layer}.weight", "weight", shape))
        for kind in kinds if layer != "fc3" else kinds[:1]:
            expected.append((f"{layer}.{kind}", kind, (units,)))
    assert [(p.name, p.kind, p.shape) for p in FIXED.layout] == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("filter_size", 4), ("conv_layers", 2), ("fc_layers", 6), ("conv_width", 8),
        ("fc_width", 100),
    ],
)  # fmt: skip
def test_an_architecture_outside_the_grid_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}: choose one of "):
        Architecture(**{field: value})


def test_unknown_activations_and_initialisations_are_refused():
    with pytest.raises(ValueError, match="unknown activation 'gelu': choose one of"):
        Net(SMALLEST, "gelu")
    with pytest.raises(ValueError, match="unknown initialisation 'he': choose one of"):
        initialise(Net(SMALLEST), "he", torch.Generator())


# --- the forward pass ---------------------------------------------------------


class Times(nn.Module):
    """Dropout with a given mask, in training mode only."""

    mask = 1.0

    def forward(self, x):
        return x * self.mask if self.training else x


MODULES = {"relu": nn.ReLU, "elu": nn.ELU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def reference(a, activation, vector):
    """The net of a vector, written as one would with torch's layers."""
    vector, place = vector.clone(), 0

    def take(*shape):
        nonlocal place
        place += math.prod(shape)
        return vector[place - math.prod(shape) : place].reshape(shape)

    def fill(layer, weight, norm):
        layer.weight.data, layer.bias.data = weight, take(len(weight))
        if a.batch_norm and norm is not None:
            norm.bias.data, norm.weight.data = take(len(weight)), take(len(weight))
            norm.running_mean, norm.running_var = take(len(weight)), take(len(weight))
            return [norm]
        return []

    modules, s, w = [], a.filter_size, a.conv_width // 4
    plan = [w, "pool", 2 * w, 2 * w, "pool", 4 * w, 4 * w, "pool"]
    if a.conv_layers < 5:
        del plan[3]
    if a.conv_layers < 4:
        del plan[-2]
    n = 3
    for width in plan:
        if width == "pool":
            modules.append(nn.MaxPool2d(2))
            continue
        conv, norm = nn.Conv2d(n, width, s, padding=s // 2), nn.BatchNorm2d(width)
        modules += [conv, *fill(conv, take(width, n, s, s), norm)]
        modules.append(MODULES[activation]())
        n = width
    modules.append(nn.Flatten())  # channel, height, width
    for k in range(a.fc_layers):
        last = k == a.fc_layers - 1
        width = 20 if last else a.fc_width // 2**k
        if k == 0:  # the vector has height, width, channel
            weight = take(width, 4, 4, n).permute(0, 3, 1, 2).reshape(width, 16 * n)
            n *= 16
        else:
            weight = take(width, n)
        linear, norm = nn.Linear(n, width), nn.BatchNorm1d(width)
        norms = fill(linear, weight.contiguous(), None if last else norm)
        modules.append(linear)
        if not last:
            modules += [MODULES[activation](), *norms, Times()]
        n = width
    assert place == len(vector)
    return nn.Sequential(*modules)


def vector_of(a, net):
    """The vector of a reference: its modules' tensors in the printed order."""
    pieces, first = [], True
    for module in net:
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            if isinstance(module, nn.Linear) and first:
                units = weight.reshape(len(weight), -1, 4, 4)  # out, channel, h, w
                weight, first = units.permute(0, 2, 3, 1), False
            pieces += [weight, module.bias]
            held = len(pieces)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            stats = module.running_mean, module.running_var
            pieces[held:held] = [module.bias, module.weight, *stats]
    return torch.cat([piece.detach().reshape(-1) for piece in pieces])


@pytest.fixture
def double(monkeypatch):
    """Train in float64, where rounding stays small whatever the optimizer does.

    (A convolution's bias before batch norm has no gradient but rounding, which Adam
    and RMSProp scale up: in float32 to steps as long as any other, in float64 to
    1e-5 at most, for their epsilon.)
    """
    monkeypatch.setattr(training, "as_input", lambda pixels: as_input(pixels).double())
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def randomised(a, activation, seed=0):
    """A net with every entry of its vector drawn, variances positive."""
    net = initialise(
        Net(a, activation), "glorot_normal", torch.Generator().manual_seed(seed)
    )
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if tensor.dim() == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
                tensor += 1.0 if name.endswith(("gamma", "var")) else 0.0
    return net


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "a",
    [
        SMALLEST, Architecture(5, 4, 4, 16, 64), Architecture(7, 5, 5, 16, 128),
        Architecture(3, 5, 3, 16, 64, batch_norm=False),
    ],
    ids=lambda a: a.name,
)  # fmt: skip
def test_a_net_computes_what_torchs_layers_do(a, activation, double):
    net = randomised(a, activation)
    before = a.layout.flatten(net)
    ref = reference(a, activation, before)
    torch.testing.assert_close(vector_of(a, ref), before, rtol=0, atol=0)
    x = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(net.eval()(x), ref.eval()(x), rtol=1e-10, atol=1e-10)
    assert torch.equal(a.layout.flatten(net), before)  # statistics as they were
    masks = dropout_masks(a, 6, torch.Generator().manual_seed(6))
    for module, mask in zip(
        [m for m in ref if isinstance(m, Times)], masks, strict=True
    ):
        module.mask = mask
    net.train(), ref.train()
    for _ in range(2):
        ours, theirs = net(x, masks), ref(x)
        assert ours.shape == (6, 20)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    after = a.layout.flatten(net)
    torch.testing.assert_close(after, vector_of(a, ref), rtol=1e-10, atol=1e-12)
    assert torch.equal(before, after) != a.batch_norm  # running statistics moved
    ours.square().sum().backward()
    theirs.square().sum().backward()
    gradients = a.layout.flatten(
        {name: p.grad for name, p in net.named_parameters()}
        | {name: torch.zeros_like(b) for name, b in net.named_buffers()}
    )
    for module in ref:  # each tensor becomes its gradient, statistics zero
        for p in module.parameters():
            p.data = p.grad
        if hasattr(module, "running_mean"):
            module.running_mean.zero_(), module.running_var.zero_()
    assert gradients.abs().max() > 0.1
    torch.testing.assert_close(gradients, vector_of(a, ref), rtol=1e-9, atol=1e-9)


def test_the_first_fully_connected_layer_reads_height_width_channel():
    """By hand: one pixel of the last convolution's 4 x 4, one channel, one weight."""
    a = Architecture(3, 3, 3, 16, 64, batch_norm=False)
    layout, channels = a.layout, 16
    vector = torch.zeros(layout.size)
    pieces = {p.name: p for p in layout}

    def put(name, place, value=1.0):
        vector[pieces[name].start + np.ravel_multi_index(place, pieces[name].shape)] = (
            value
        )

    # Centres of kernels pass the picture's green channel on to channel 5.
    put("conv1.weight", (2, 1, 1, 1))
    put("conv2.weight", (3, 2, 1, 1))
    put("conv3.weight", (5, 3, 1, 1))
    height, width, channel = 1, 3, 5
    vector[pieces["fc1.weight"].start + (height * 4 + width) * channels + channel] = 7.0
    put("fc2.weight", (4, 0))
    put("fc3.weight", (19, 4))
    net = layout.load(vector, Net(a))
    picture = torch.zeros(1, 3, 32, 32)
    picture[0, 1, 8 * height + 3, 8 * width + 6] = 0.5
    assert net(picture)[0].tolist() == [0.0] * 19 + [3.5]
    other = picture.transpose(2, 3)
    assert not net(other).any()


def test_dropout_masks_are_zero_or_two_and_halve_on_average():
    a = Architecture(fc_layers=5, fc_width=128)
    masks = dropout_masks(a, 200, torch.Generator().manual_seed(0))
    assert [tuple(m.shape) for m in masks] == [(200, w) for w in (128, 64, 32, 16)]
    joined = torch.cat(masks, 1)
    assert joined.unique().tolist() == [0.0, 2.0]
    assert float(joined.mean()) == pytest.approx(1, abs=4 / math.sqrt(joined.numel()))
    again = dropout_masks(a, 200, torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(again, 1), joined)
    next_ = torch.Generator().manual_seed(0)
    dropout_masks(a, 200, next_)
    assert not torch.equal(torch.cat(dropout_masks(a, 200, next_), 1), joined)


def test_what_is_dropped_counts_nothing():
    net = randomised(SMALLEST, "tanh").train()
    x = torch.rand(4, 3, 32, 32)
    nothing = [torch.zeros(4, 64), torch.zeros(4, 32)]
    torch.testing.assert_close(net(x, nothing), net.fc3.bias.expand(4, 20))


# --- initial weights ----------------------------------------------------------


def initial(scheme, a=LARGEST, seed=0):
    return initialise(Net(a), scheme, torch.Generator().manual_seed(seed))


def fans(weight):
    return sum(weight.shape[:2]) * weight[0, 0].numel()


@pytest.mark.parametrize("scheme", INITIALISATIONS)
def test_biases_start_at_zero_and_batch_norm_as_the_identity(scheme):
    net = initial(scheme)
    for piece in LARGEST.layout:
        values = net.get_parameter(piece.name) if piece.kind not in (
            "mean", "var"
        ) else net.get_buffer(piece.name)  # fmt: skip
        start = {"bias": 0, "beta": 0, "mean": 0, "gamma": 1, "var": 1}.get(piece.kind)
        if start is not None:
            assert (values == start).all()
        else:
            assert (values != 0).all() or scheme == "glorot_uniform"
    assert LARGEST.layout.flatten(net).isfinite().all()


@pytest.mark.parametrize("scheme", ["normal", "glorot_uniform", "glorot_normal"])
def test_every_layers_weights_have_their_distribution(scheme):
    for name, p in initial(scheme).named_parameters():
        if not name.endswith(".weight"):
            continue
        w = p.detach().double().flatten().numpy()
        std = 1.0 if scheme == "normal" else math.sqrt(2 / fans(p))
        if scheme == "glorot_normal":
            # scipy's truncated normal has the deviation that is asked for
            cut = std / stats.truncnorm(-2, 2).std()
            law = stats.truncnorm(-2, 2, scale=cut)
            assert np.abs(w).max() <= 2 * cut * (1 + 1e-6)
        elif scheme == "glorot_uniform":
            bound = math.sqrt(3) * std
            law = stats.uniform(-bound, 2 * bound)
            assert np.abs(w).max() <= bound
        else:
            law = stats.norm()
        assert law.std() == pytest.approx(std)
        assert stats.kstest(w, law.cdf).pvalue > 1e-3, name


def test_constant_weights_are_a_tenth():
    for name, p in initial("constant").named_parameters():
        if name.endswith(".weight"):
            assert (p == 0.1).all()


def test_initial_weights_follow_from_the_generator():
    for scheme in INITIALISATIONS:
        first, again = (FIXED.layout.flatten(initial(scheme, FIXED)) for _ in range(2))
        assert torch.equal(first, again)
        other = FIXED.layout.flatten(initial(scheme, FIXED, seed=1))
        assert torch.equal(first, other) == (scheme == "constant")


# --- what is drawn ------------------------------------------------------------

DRAWS = 3000


@pytest.fixture(scope="module")
def drawn():
    return pd.DataFrame([draw(3, run, SETS).row() for run in range(DRAWS)])


def test_a_run_is_drawn_on_its_own():
    together = [draw(7, run, SETS) for run in range(20)]
    assert together[13] == draw(7, 13, SETS)
    assert len(set(together)) == 20
    assert draw(8, 13, SETS) != together[13]


def test_a_fixed_architecture_changes_nothing_else():
    for run in range(20):
        free, fixed = draw(1, run, SETS), draw(1, run, SETS, fixed_architecture=True)
        assert fixed.architecture == FIXED
        architecture = {f: getattr(FIXED, f) for f in FIXED.__dataclass_fields__}
        assert fixed.row() == free.row() | architecture


def test_rows_hold_the_twelve_of_table_1(drawn):
    assert sorted(drawn.columns) == sorted([*hyperparameters.NAMES, "batch_norm"])
    assert len(hyperparameters.NAMES) == 12
    assert drawn["batch_norm"].all()


CHOICES = {
    "dataset": SETS, "batch_size": (32, 64, 128, 256), "augmentation": (False, True),
    "optimizer": ("adam", "rmsprop", "momentum"),
    "activation": ("relu", "elu", "sigmoid", "tanh"),
    "init": ("constant", "normal", "glorot_uniform", "glorot_normal"),
    "filter_size": (3, 5, 7), "conv_layers": (3, 4, 5), "fc_layers": (3, 4, 5),
    "conv_width": (16, 32, 48), "fc_width": (64, 128, 192),
}  # fmt: skip


def test_every_value_is_drawn_equally_often(drawn):
    for name, values in CHOICES.items():
        counts = drawn[name].astype(object).value_counts()
        assert set(counts.index) == set(values)
        assert stats.chisquare(counts.reindex(values)).pvalue > 1e-3, name
    assert drawn["lr"].between(2e-4, 5e-3).all()
    law = stats.uniform(2e-4, 5e-3 - 2e-4)
    assert stats.kstest(drawn["lr"], law.cdf).pvalue > 1e-3


def test_hyper_parameters_are_independent(drawn):
    columns = drawn[list(CHOICES)].assign(lr=pd.qcut(drawn["lr"], 5).astype(str))
    names = list(columns)
    for k, one in enumerate(names):
        for other in names[:k]:
            table = pd.crosstab(columns[one], columns[other])
            p = stats.chi2_contingency(table).pvalue
            assert p > 1e-4, (one, other)  # 66 pairs


def test_streams_differ_by_seed_run_and_sort():
    names = ("hyper-parameters", "init", "split", "batches", "augmentation", "dropout")
    states = {
        tuple(stream(seed, run, name).generate_state(4))
        for seed in range(3)
        for run in range(3)
        for name in names
    }
    assert len(states) == 3 * 3 * 6


GOOD = dict(
    dataset="noise", lr=1e-3, batch_size=32, augmentation=False, optimizer="adam",
    activation="relu", init="normal",
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer is 'sgd': choose one of"),
        ({"activation": "gelu"}, "activation is 'gelu': choose one of"),
        ({"init": "he"}, "init is 'he': choose one of"),
        ({"lr": 0.0}, "lr is 0.0 and batch_size 32: give a positive rate"),
        ({"lr": math.nan}, "lr is nan and batch_size 32: give a positive rate"),
        ({"batch_size": 1}, "batch_size 1: give .* at least 2 images"),
    ],
)
def test_wrong_hyper_parameters_are_refused(change, message):
    HyperParameters(**GOOD)
    with pytest.raises(ValueError, match=message):
        HyperParameters(**GOOD | change)


# --- when a training ends -----------------------------------------------------


def falls(n, rises=25):
    """Accuracies that rise, then fall ``n`` times."""
    up = np.linspace(0.1, 0.9, rises + 1)
    return [*up, *(0.9 - 0.001 * np.arange(1, n + 1))]


def saw(decreases, extra=1):
    """Up and down: ``decreases`` values below the smoothed one before them."""
    v = [0.5]
    for _ in range(decreases):
        v += [0.9, 0.1]
    return v + [0.9] * extra


@pytest.mark.parametrize(
    ("accuracies", "reason"),
    [
        (falls(4), None),
        (falls(5), "overfits"),
        (falls(4) + [0.95], None),
        (falls(4) + [falls(4)[-1]], None),  # equal is no decrease
        (falls(2) + [0.95, 0.94, 0.93, 0.92, 0.91], None),  # 2 and 4, a rise between
        (falls(5, rises=14), None),  # epoch 19
        (falls(5, rises=15), "overfits"),  # epoch 20
        (falls(6, rises=14), "overfits"),
        (falls(5) + [0.95], None),  # not the last five
        (saw(29), None),
        (saw(30), "noisy"),
        (saw(30, extra=25), "noisy"),  # in total, not in a row
        ([0.5] * 30, None),  # 29 changes
        ([0.5] * 31, "stuck"),
        ([0.4] + [0.5] * 30, None),
        ([0.4] + [0.5] * 31, "stuck"),
        ([0.5 + 9e-9 * (-1) ** t / 2 for t in range(31)], "stuck"),
        ([0.5 + 2e-8 * t for t in range(31)], None),
        ([0.5] * 15 + [0.6] + [0.5] * 29, None),
        ([0.5], None),
        # Both hold: the paper's order decides.
        (saw(30) + [0.8, 0.7, 0.6, 0.5, 0.4], "overfits"),
        (saw(30, extra=40), "noisy"),
    ],
)
def test_reasons_to_stop(accuracies, reason):
    assert reason_to_stop(accuracies) == reason


def test_cases_that_test_the_order_do_hold_both():
    assert stopping.is_noisy(saw(30) + [0.8, 0.7, 0.6, 0.5, 0.4])
    assert stopping.is_stuck(saw(30, extra=40))
    assert not stopping.is_noisy(falls(5)) and not stopping.is_stuck(falls(5))


def test_a_decrease_is_counted_against_the_smoothed_accuracy():
    # 0.8 is more than the 0.7 before it, yet less than the smoothed 0.83.
    v = [0.9, 0.9, 0.7, 0.8, 0.8]
    assert smoothed(v)[2] == pytest.approx(0.8)
    below = [a < b for a, b in zip(v[1:], smoothed(v)[:-1], strict=True)]
    assert below == [False, True, False, False]
    v = [0.9, 0.9, 0.7, 0.79]
    assert v[3] > v[2] and v[3] < smoothed(v)[2]


@such_that(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_smoothing_is_pandas(accuracies):
    theirs = pd.Series(accuracies).ewm(alpha=0.5, adjust=False).mean()
    np.testing.assert_allclose(smoothed(accuracies), theirs, rtol=1e-12, atol=1e-15)


@such_that(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_no_training_ends_before_epoch_20(accuracies):
    assert reason_to_stop(accuracies) is None


@such_that(st.data())
def test_kept_epochs_are_spread_evenly(data):
    epochs = data.draw(st.integers(1, 500))
    n = data.draw(st.integers(2, epochs + 1))
    kept = kept_epochs(epochs, n)
    assert len(kept) == n and kept[0] == 0 and kept[-1] == epochs
    gaps = np.diff(kept)
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1
    assert all(isinstance(epoch, int) for epoch in kept)
    ideal = np.arange(n) * epochs / (n - 1)
    assert np.abs(kept - ideal).max() <= 0.5 + 1e-9


#: Few values, near one another, so that every criterion is met now and then.
near_accuracies = st.lists(
    st.sampled_from([0.1, 0.5, 0.5 + 1e-9, 0.6]), min_size=1, max_size=90
)


@such_that(near_accuracies)
def test_criteria_are_as_printed(v):
    falling = [b < a for a, b in zip(v, v[1:], strict=False)]
    assert stopping.overfits(v) == (len(falling) >= 5 and all(falling[-5:]))
    still = [abs(b - a) < 1e-8 for a, b in zip(v, v[1:], strict=False)]
    assert stopping.is_stuck(v) == (len(still) >= 30 and all(still[-30:]))
    smooth, below = v[0], 0
    for accuracy in v[1:]:
        below += accuracy < smooth
        smooth = 0.5 * accuracy + 0.5 * smooth
    assert stopping.is_noisy(v) == (below >= 30)


@such_that(near_accuracies, near_accuracies)
def test_what_is_noisy_stays_noisy(v, more):
    assert stopping.is_noisy(v + more) or not stopping.is_noisy(v)


@such_that(near_accuracies)
def test_the_first_criterion_that_holds_ends_a_training(v):
    reasons = [name for name, holds in stopping.CRITERIA.items() if holds(v)]
    expected = reasons[0] if reasons and len(v) > 20 else None
    assert reason_to_stop(v) == expected


def test_kept_epochs_of_a_short_training_are_all():
    assert kept_epochs(19) == tuple(range(20))
    assert kept_epochs(38) == tuple(range(0, 39, 2))


@pytest.mark.parametrize(("epochs", "snapshots"), [(18, 20), (5, 1), (0, 2)])
def test_snapshots_that_cannot_be_kept_are_refused(epochs, snapshots):
    message = f"cannot keep {snapshots} snapshots of {epochs} epochs: .* {epochs + 1},"
    with pytest.raises(ValueError, match=message):
        kept_epochs(epochs, snapshots)
    with pytest.raises(ValueError, match=message):
        Budget(epochs, snapshots)


# --- images -------------------------------------------------------------------


def test_grey_images_are_scaled_and_repeated(random_images):
    raw = random_images(12, 5, size=28)
    got = prepare(raw, name="mine", train=7, test=3, balanced=True)
    assert (got.name, got.balanced) == ("mine", True)
    assert got.train_images.shape == (7, 32, 32, 3)
    assert got.test_images.shape == (3, 32, 32, 3)
    assert got.train_images.dtype == torch.uint8 and got.train_images.is_contiguous()
    assert torch.equal(got.train_labels, raw.train_labels[:7])
    assert torch.equal(got.test_labels, raw.test_labels[:3])
    scaled = data.resize(raw.train_images, 32)[:7, 0]
    for channel in range(3):
        assert torch.equal(got.train_images[..., channel], scaled)


def test_colour_images_of_the_right_size_keep_their_pixels(random_images):
    raw = random_images(4, 3, channels=3, size=32)
    got = prepare(raw, train=100, test=100)  # more than there are: all
    assert (got.name, got.balanced, got.passes) == ("noise", False, 1)
    assert torch.equal(got.train_images.permute(0, 3, 1, 2), raw.train_images)
    x = as_input(got.test_images)
    assert x.shape == (3, 3, 32, 32) and x.dtype == torch.float32
    assert torch.equal(x, raw.test_images.float() / 255)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert as_input(got.test_images[None]).shape == (1, 3, 3, 32, 32)


def test_images_move_to_a_device(random_images):
    given = prepare(random_images(4, 3), balanced=True, passes=3)
    moved = given.to("meta")
    assert moved.passes == 3
    assert moved.train_images.device.type == moved.test_labels.device.type == "meta"
    assert (moved.name, moved.balanced) == (given.name, True)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"classes": 21}, "'noise' has 21 classes and 1 channels: .* up to 20 classes"),
        ({"channels": 2}, "'noise' has 10 classes and 2 channels: .* 1 or 3 channels"),
    ],
)
def test_images_that_do_not_fit_are_refused(kind, message, random_images):
    with pytest.raises(ValueError, match=message):
        prepare(random_images(4, 3, **kind))


@such_that(st.integers(2, 3000), st.integers(0, 10))
def test_a_tenth_is_kept_for_validation(n, run):
    train_part, valid_part = split(n, stream(0, run, "split"))
    assert len(valid_part) == max(1, round(0.1 * n))
    assert sorted([*train_part, *valid_part]) == list(range(n))


def test_splits_are_random_and_repeatable():
    one, again, other = (split(1000, stream(0, k, "split"))[1] for k in (1, 1, 2))
    assert np.array_equal(one, again)
    assert len(set(one) & set(other)) < 30  # 10 expected
    assert stats.kstest(one, stats.uniform(0, 1000).cdf).pvalue > 1e-3


def test_an_epoch_sees_each_image_at_most_once():
    labels = np.zeros(103, dtype=int)
    rng = np.random.default_rng(0)
    order = epoch_order(labels, 10, rng)
    assert order.shape == (10, 10)
    assert len(np.unique(order)) == 100 and order.max() < 103
    assert not np.array_equal(order, epoch_order(labels, 10, rng))
    assert epoch_order(labels, 256, rng).shape == (1, 103)


def test_an_epoch_of_several_passes_sees_each_image_as_often():
    labels = np.arange(40) % 3
    order = epoch_order(labels, 20, np.random.default_rng(0), passes=3)
    assert order.shape == (6, 20)
    for part in order.reshape(3, 40):
        assert sorted(part) == list(range(40))
    assert not np.array_equal(order[:2], order[2:4])
    balanced = epoch_order(
        labels, 13, np.random.default_rng(0), balanced=True, passes=2
    )
    assert balanced.shape == (6, 13)  # 13 of each of three classes, twice
    assert np.bincount(labels[balanced.ravel()]).tolist() == [26, 26, 26]
    for part in balanced.reshape(2, 39):
        assert len(np.unique(part)) == 39


def test_a_balanced_epoch_draws_equally_many_of_each_class_anew():
    labels = np.repeat([0, 1, 3], [50, 20, 30])  # no 2
    rng = np.random.default_rng(0)
    seen = np.zeros(100, dtype=int)
    for _ in range(200):
        order = epoch_order(labels, 60, rng, balanced=True)
        assert order.shape == (1, 60)
        assert np.bincount(labels[order[0]]).tolist() == [20, 20, 0, 20]
        assert len(np.unique(order)) == 60
        seen[order[0]] += 1
    for c, n in ((0, 50), (3, 30)):
        expected = 200 * 20 / n
        assert np.abs(seen[labels == c] - expected).max() < 5 * math.sqrt(expected)
    assert (seen[labels == 1] == 200).all()
    # Classes are mixed within an epoch, not one after the other.
    batches = epoch_order(labels, 20, rng, balanced=True)
    assert all(len(np.unique(labels[batch])) == 3 for batch in batches)


# --- training -----------------------------------------------------------------


@pytest.fixture
def images(random_images):
    return prepare(random_images(60, 25, channels=3, size=32))


def straightforward(given, images, epochs, seed, run):
    """The training as one would write it: every epoch's vector and scores."""
    a = given.architecture
    in_train, in_valid = split(len(images.train_labels), stream(seed, run, "split"))
    net = initialise(
        Net(a), given.init, course.generator(seed, run, "init")
    )  # the draw is tested above
    net = reference(a, given.activation, a.layout.flatten(net))
    if given.optimizer == "adam":
        optimizer = torch.optim.Adam(net.parameters(), lr=given.lr)
    elif given.optimizer == "rmsprop":
        optimizer = torch.optim.RMSprop(
            net.parameters(), lr=given.lr, alpha=0.9, eps=1e-5
        )
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=given.lr, momentum=0.95)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.96)
    rng = np.random.default_rng(stream(seed, run, "batches"))
    dropout = course.generator(seed, run, "dropout")
    augmenting = course.generator(seed, run, "augmentation")
    sets = (
        (images.train_images[in_train[:500]], images.train_labels[in_train[:500]]),
        (images.train_images[in_valid], images.train_labels[in_valid]),
        (images.test_images, images.test_labels),
    )
    labels = images.train_labels[in_train]

    def scores():
        net.eval()
        with torch.no_grad():
            outputs = [(net(training.as_input(x)), y) for x, y in sets]
        return [
            (float((o.argmax(1) == y).double().mean()), float(F.cross_entropy(o, y)))
            for o, y in outputs
        ]

    path, table = [vector_of(a, net)], [scores()]
    for _ in range(epochs):
        net.train()
        order = epoch_order(
            labels.numpy(), given.batch_size, rng,
            balanced=images.balanced, passes=images.passes,
        )  # fmt: skip
        for batch in order:
            x = training.as_input(images.train_images[in_train[batch]])
            if given.augmentation:
                x = augmentation.apply(x, augmentation.draw(len(x), augmenting))
            masks = dropout_masks(a, len(x), dropout)
            for module in net:
                if isinstance(module, Times):
                    module.mask = masks.pop(0)
            optimizer.zero_grad()
            F.cross_entropy(net(x), labels[batch]).backward()
            optimizer.step()
        schedule.step()
        path.append(vector_of(a, net))
        table.append(scores())
    return torch.stack(path), np.array(table)


@pytest.mark.parametrize(
    ("optimizer", "activation", "init", "batch_size", "augmented", "batch_norm"),
    [
        ("adam", "relu", "glorot_normal", 64, False, True),  # one step an epoch
        ("rmsprop", "tanh", "glorot_uniform", 64, False, True),
        ("momentum", "elu", "normal", 64, False, True),
        ("adam", "sigmoid", "constant", 16, False, True),
        ("rmsprop", "elu", "normal", 16, True, True),
        ("momentum", "relu", "glorot_normal", 16, True, True),
        ("adam", "tanh", "glorot_normal", 16, False, False),
    ],
)
def test_training_is_torchs_step_by_step(
    optimizer, activation, init, batch_size, augmented, batch_norm, images, double
):
    a = Architecture(3, 4, 3, 16, 64, batch_norm=batch_norm)
    given = HyperParameters(
        "noise", 2e-3, batch_size, augmented, optimizer, activation, init, a
    )
    got = train(given, images, Budget(3, 4), seed=5, run=2)
    path, table = straightforward(given, images, 3, 5, 2)
    assert got.kept_epochs == (0, 1, 2, 3)
    assert got.steps == 3 * max(1, 54 // batch_size)
    torch.testing.assert_close(got.weights[0], path[0], rtol=0, atol=0)
    assert (got.weights[1:] - got.weights[:-1]).abs().amax(1).min() > 1e-4
    # Rounding alone moves the convolutions' biases, and with them the means.
    rounding = torch.zeros(a.n_weights, dtype=torch.bool)
    for piece in a.layout if batch_norm and optimizer != "momentum" else ():
        if piece.layer.startswith("conv") and piece.kind in ("bias", "mean"):
            rounding[piece.start : piece.stop] = True
    torch.testing.assert_close(
        got.weights[:, ~rounding], path[:, ~rounding], rtol=1e-7, atol=1e-8
    )
    torch.testing.assert_close(
        got.weights[:, rounding], path[:, rounding], rtol=0, atol=1e-5
    )
    for k, name in enumerate(SPLITS):
        np.testing.assert_allclose(got.accuracy[name], table[:, k, 0], atol=1e-12)
        np.testing.assert_allclose(got.loss[name], table[:, k, 1], rtol=1e-4)


def test_single_precision_is_close_to_double(images, request):
    given = HyperParameters(**GOOD | {"optimizer": "momentum", "init": "glorot_normal"})
    single = train(given, images, Budget(2, 3), seed=0, run=0)
    assert single.weights.dtype == torch.float32
    # The same random numbers, drawn in float32.
    vector = single.weights[0].double()
    masks, starts = dropout_masks, vector.clone()
    request.getfixturevalue("double")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "dropout_masks", _in_float32(masks))
        patch.setattr(
            course, "initialise",
            lambda net, *_: FIXED.layout.load(starts, net),
        )  # fmt: skip
        exact = train(given, images, Budget(2, 3), seed=0, run=0)
    assert exact.weights.dtype == torch.float64
    torch.testing.assert_close(
        single.weights.double(), exact.weights, rtol=1e-3, atol=1e-5
    )


def _in_float32(masks):
    def drawn(*arguments):
        torch.set_default_dtype(torch.float32)
        try:
            return masks(*arguments)
        finally:
            torch.set_default_dtype(torch.float64)

    return drawn


def test_the_rate_decays_after_each_epoch(images):
    given = HyperParameters(**GOOD | {"optimizer": "momentum", "batch_size": 54})
    rates = []
    make = training.make_optimizer

    def spied(given, vector):
        optimizer = make(given, vector)
        step = optimizer.step
        optimizer.step = lambda: (rates.append(optimizer.param_groups[0]["lr"]), step())
        return optimizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_optimizer", spied)
        train(given, images, Budget(3, 2), seed=0, run=0)
    assert rates == pytest.approx([1e-3, 0.96e-3, 0.96**2 * 1e-3])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_have_the_papers_constants(optimizer):
    vector = torch.zeros(3, requires_grad=True)
    made = training.make_optimizer(HyperParameters(**GOOD | {"optimizer": optimizer}),
                                   vector)  # fmt: skip
    expected = {
        "adam": {"betas": (0.9, 0.999), "eps": 1e-8},
        "rmsprop": {"alpha": 0.9, "eps": 1e-5, "momentum": 0, "centered": False},
        "momentum": {"momentum": 0.95, "dampening": 0, "nesterov": False},
    }[optimizer]
    (group,) = made.param_groups
    assert {key: group[key] for key in expected} == expected
    assert (group["lr"], group["weight_decay"]) == (1e-3, 0)


def test_only_batch_norm_moves_the_running_statistics(images):
    """No optimizer touches entries without a gradient."""
    for optimizer in OPTIMIZERS:
        given = HyperParameters(**GOOD | {"optimizer": optimizer})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(architecture, "_BN_MOMENTUM", 0.0)
            got = train(given, images, Budget(2, 2), seed=0, run=0)
        for kind, value in (("mean", 0.0), ("var", 1.0)):
            assert (got.weights[:, FIXED.layout.select(kind=kind)] == value).all()
        kernels = got.weights[:, FIXED.layout.select(kind="weight")]
        assert (kernels[0] != kernels[1]).float().mean() > 0.5


# A training that uses everything random, and its digest.
REPEATABLE = """
import hashlib
import torch
from nwslib.data import ImageSet
from nwslib.nws.architecture import Architecture
from nwslib.nws.hyperparameters import HyperParameters
from nwslib.nws.images import prepare
from nwslib.nws.training import SPLITS, Budget, train

generator = torch.Generator().manual_seed(0)
pixels = torch.randint(256, (90, 3, 32, 32), generator=generator).to(torch.uint8)
labels = torch.arange(90) % 7
raw = ImageSet("noise", pixels[:70], labels[:70], pixels[70:], labels[70:])
given = HyperParameters(
    "noise", 4e-3, 32, True, "adam", "elu", "glorot_normal",
    Architecture(5, 4, 4, 16, 64),
)
net = train(given, prepare(raw, balanced=True), Budget(3, 4), seed=11, run=5)
digest = hashlib.sha256(net.weights.numpy().tobytes())
for split in SPLITS:
    digest.update(net.accuracy[split].tobytes() + net.loss[split].tobytes())
digest = digest.hexdigest()
"""


def test_a_training_is_the_same_bit_for_bit_wherever_it_runs():
    def here():
        names = {}
        exec(REPEATABLE, names)
        return names["digest"]

    start = "import torch; torch.set_num_threads(2); torch.rand(7)\n"
    with subprocess.Popen(
        [sys.executable, "-c", start + REPEATABLE + "print(digest)"],
        cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        alone = here()
        torch.rand(3)  # the global generator has no say
        done = threading.Event()

        def work():
            while not done.is_set():
                torch.rand(64, 64) @ torch.rand(64, 64)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert here() == alone
        finally:
            done.set()
            thread.join()
        assert other.communicate()[0].strip() == alone
    assert other.returncode == 0


def test_threads_are_given_back(images):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        train(HyperParameters(**GOOD), images, Budget(1, 2), seed=0, run=0)
        assert torch.get_num_threads() == 3
        assert torch.tensor(1e-40).item() * 1 > 0
        assert float(torch.tensor(1e-40) * 1) > 0  # subnormal numbers too
    finally:
        torch.set_num_threads(before)


def test_snapshots_are_the_flattened_nets(images):
    """The last one, loaded into a fresh net, scores what the history says."""
    given = HyperParameters(**GOOD | {"init": "glorot_uniform", "activation": "tanh"})
    got = train(given, images, Budget(4, 3), seed=3, run=9)
    assert got.kept_epochs == (0, 2, 4) and got.epochs == 4
    assert got.weights.shape == (3, FIXED.n_weights)
    assert got.stopped == "limit" and got.seconds > 0
    initial = initialise(Net(FIXED), "glorot_uniform", course.generator(3, 9, "init"))
    assert torch.equal(got.weights[0], FIXED.layout.flatten(initial))
    for vector, epoch in zip(got.weights, got.kept_epochs, strict=True):
        net = FIXED.layout.load(vector, Net(FIXED, "tanh"))
        scores = evaluate(net, images.test_images, images.test_labels)
        assert scores == (got.accuracy["test"][epoch], got.loss["test"][epoch])
    for table in (got.accuracy, got.loss):
        assert list(table) == ["train", "valid", "test"]
        assert all(values.shape == (5,) for values in table.values())
    for values in got.accuracy.values():
        assert ((values >= 0) & (values <= 1)).all()


def test_evaluation_uses_running_statistics_and_every_image(random_images, monkeypatch):
    images = prepare(random_images(2, 23, channels=3, size=32))
    net = randomised(SMALLEST, "elu").train()
    x, y = images.test_images, images.test_labels
    monkeypatch.setattr(training, "_EVALUATED", 5)  # pieces, the last one smaller
    before = SMALLEST.layout.flatten(net)
    accuracy, loss = evaluate(net, x, y)
    assert torch.equal(SMALLEST.layout.flatten(net), before)
    ref = reference(SMALLEST, "elu", before).eval()
    with torch.no_grad():
        outputs = ref(as_input(x))
    assert accuracy == int((outputs.argmax(1) == y).sum()) / 23
    assert loss == pytest.approx(float(F.cross_entropy(outputs, y)), rel=1e-5)


def test_a_training_ends_when_a_rule_says_so(images, monkeypatch):
    """Accuracies of validation go in from the initial weights on."""
    told = []

    def rule(accuracies):
        told.append(list(accuracies))
        return "noisy" if len(accuracies) == 4 else None

    monkeypatch.setattr(stopping, "reason_to_stop", rule)
    got = train(HyperParameters(**GOOD), images, Budget(9, 2), seed=0, run=0)
    assert (got.stopped, got.epochs, got.kept_epochs) == ("noisy", 3, (0, 3))
    assert [len(v) for v in told][-3:] == [2, 3, 4]
    assert told[-1] == got.accuracy["valid"].tolist()


def test_training_learns_something():
    """Two classes that a pixel tells apart."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(100, (240, 3, 32, 32), generator=generator).to(torch.uint8)
    labels = torch.arange(240) % 2
    pixels[labels == 1, :, 8:24, 8:24] += 120
    raw = data.ImageSet("two", pixels[:200], labels[:200], pixels[200:], labels[200:])
    given = HyperParameters(**GOOD | {"init": "glorot_normal"})
    got = train(given, prepare(raw), Budget(6, 2), seed=0, run=0)
    assert got.accuracy["test"][0] < 0.7 and got.accuracy["test"][-1] > 0.9
    assert got.loss["valid"][-1] < got.loss["valid"][0]


@pytest.mark.parametrize("size", [1e-9, 1e-7, 1e-5, 1e-3, 1.0])
def test_rmsprop_does_as_tensorflows_where_gradients_vanish_and_where_not(size):
    """TensorFlow's epsilon of 1e-10 stands under the root, torch's beside it."""
    given = HyperParameters(**GOOD | {"optimizer": "rmsprop"})
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = training.make_optimizer(given, weight)
    square, theirs = 0.0, 0.0
    for _ in range(50):
        weight.grad = torch.tensor([size], dtype=torch.float64)
        optimizer.step()
        square = 0.9 * square + 0.1 * size**2
        theirs -= given.lr * size / math.sqrt(square + 1e-10)
    assert 2**-0.5 <= weight.item() / theirs <= 1
    if size in (1e-9, 1.0):
        assert weight.item() == pytest.approx(theirs, rel=1e-3)
