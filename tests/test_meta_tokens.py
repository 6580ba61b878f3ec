"""Tokens of layers, and the meta-classifier that learns from them."""

import numpy as np
import pandas as pd
import pytest
import torch

from nwslib.flatten import Layout
from nwslib.meta import token_net, tokens
from nwslib.meta.protocol import Examples, judge, labelled, rounds
from nwslib.nws.architecture import FIXED, GRID, Architecture, Net, initialise
from nwslib.zoo import Zoo, ZooWriter

SMALL = Architecture(3, 3, 3, 16, 64)
DEEP = Architecture(3, 5, 5, 16, 64)


def filled(architecture, seed, activation="relu", scheme="glorot_normal"):
    """Make a net whose every number is something."""
    generator = torch.Generator().manual_seed(seed)
    net = initialise(Net(architecture, activation), scheme, generator).eval()
    for name, value in net.state_dict().items():
        if not name.endswith(".weight"):
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(noise.exp() if name.endswith((".var", ".gamma")) else noise)
    return net


def shuffled(net, seed):
    """Give the hidden units of every layer another order, in a copy."""
    rng = np.random.default_rng(seed)
    other = Net(net.architecture).eval()
    other.activation = net.activation
    state = {name: value.clone() for name, value in net.state_dict().items()}
    layers = net.architecture.layers
    for layer, after in zip(layers, layers[1:], strict=False):
        order = torch.from_numpy(rng.permutation(layer.outputs))
        for name, value in state.items():
            if name.startswith(f"{layer.name}."):
                state[name] = value[order]
        weight = state[f"{after.name}.weight"]
        if (
            layer.filter_size and not after.filter_size
        ):  # inputs: height, width, channel
            by_channel = weight.unflatten(1, (16, layer.outputs))
            weight = by_channel[:, :, order].flatten(1)
        else:
            weight = weight[:, order]
        state[f"{after.name}.weight"] = weight
    other.load_state_dict(state)
    return other


def vector(net):
    return Layout.of(net).flatten(net).numpy()[None]


def tokens_of(net):
    return tokens.tokens(vector(net), Layout.of(net))


def noise_examples(n=24, per_net=2, roles=3, numbers=6, classes=("a", "b"), seed=0):
    """Tokens of noise, the layers of a few nets missing."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n * per_net, roles, numbers)).astype(np.float32)
    features[..., 0] = 1
    features[-per_net:, -1] = 0  # the last net lacks the last layer
    labels = np.repeat(np.resize(classes, n), per_net)
    return Examples(features, labels, np.repeat(np.arange(n), per_net))


# --- tokens -------------------------------------------------------------------


@pytest.mark.parametrize("architecture", [SMALL, DEEP, FIXED], ids=lambda a: a.name)
@pytest.mark.parametrize("scheme", ["glorot_uniform", "constant"])
def test_order_of_hidden_units_changes_nothing(architecture, scheme):
    net = filled(architecture, 0, "elu", scheme)
    other = shuffled(net, 1)
    a, b = vector(net), vector(other)
    assert (a != b).mean() > (0.8 if scheme != "constant" else 0.005)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(net(images), other(images), rtol=1e-3, atol=1e-3)
    found, again = tokens_of(net), tokens_of(other)
    np.testing.assert_allclose(found, again, rtol=1e-5, atol=1e-6)


def test_order_of_pixels_and_positions_counts():
    """The first fully connected layer has its inputs by height, width, channel."""
    net = filled(SMALL, 0)
    weight = net.fc1.weight
    with torch.no_grad():  # smooth over the 4 x 4 positions of each channel
        places = torch.linspace(-1, 1, 4)
        plane = (places[:, None] + 2 * places).reshape(1, 16, 1)  # [1, 16, 1]
        spread = weight.unflatten(1, (16, 16))  # [64, positions, channels]
        weight.copy_((spread[:, :1] * plane + 0.1 * spread).flatten(1))
    before = tokens_of(net)
    with torch.no_grad():
        turned = weight.unflatten(1, (16, 16)).flip(2)  # channels: no matter for it
        weight.copy_(turned.flatten(1))
    place = tokens.ROLES.index("fc1")
    np.testing.assert_allclose(before[:, place], tokens_of(net)[:, place], rtol=1e-5)
    with torch.no_grad():
        order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
        weight.copy_(weight[:, order])
    changed = np.abs(before - tokens_of(net))[0, place]
    rough = [tokens.NAMES.index(f"rough_{axis}.mean") for axis in "xy"]
    assert (changed[rough] > 0.1).all()


def test_numbers_of_a_unit_by_hand():
    net = filled(SMALL, 3)
    rows = tokens.unit_rows(vector(net), Layout.of(net))
    state = {name: v.double().numpy() for name, v in net.state_dict().items()}
    assert list(rows) == ["conv1", "conv2", "conv", "fc1", "hidden", "output"]
    assert [r.shape[1] for r in rows.values()] == [4, 8, 16, 64, 32, 20]
    unit, got = 2, dict(zip(tokens.NUMBERS, rows["conv2"][0, 2], strict=True))
    into, out = state["conv2.weight"][unit], state["conv3.weight"][:, unit]
    rms = np.sqrt((into**2).mean())
    z = (into - into.mean()) / into.std()
    std = np.sqrt(state["conv2.var"][unit] + 1e-5)
    glorot = np.sqrt(2 / ((4 + 8) * 9))
    expected = {
        "in.scale": np.log10(rms / glorot),
        "in.mean": into.mean() / rms,
        "in.log_std": np.log10(into.std() / glorot),
        "in.skew": (z**3).mean(),
        "in.kurtosis": (z**4).mean(),
        "in.p0": z.min(),
        "in.p1": np.percentile(z, 1),
        "in.p75": np.percentile(z, 75),
        "in.alike": np.sqrt((into.mean(0) ** 2).mean()) / rms,
        "in.spread": (into**2).mean((1, 2)).std() / (into**2).mean(),
        "rough_y": np.sqrt(((into[:, 1:] - into[:, :-1]) ** 2).mean()) / rms,
        "rough_x": np.sqrt(((into[..., 1:] - into[..., :-1]) ** 2).mean()) / rms,
        "core": np.sqrt((into[:, 1, 1] ** 2).mean()) / rms,
        "out.p99": np.percentile((out - out.mean()) / out.std(), 99),
        "out.spread": (out**2).mean((1, 2)).std() / (out**2).mean(),
        "bias": np.arcsinh(state["conv2.bias"][unit]),
        "log_bias": np.log10(abs(state["conv2.bias"][unit])),
        "log_gamma": np.log10(abs(state["conv2.gamma"][unit] - 1)),
        "log_var": np.log10(state["conv2.var"][unit]),
        "mean/std": np.arcsinh(state["conv2.mean"][unit] / std),
        "log_gain_in": np.log10(state["conv2.gamma"][unit] * rms / std),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    # The output layer has no batch norm and nothing after it.
    last = dict(zip(tokens.NUMBERS, rows["output"][0, 0], strict=True))
    assert last["beta"] == last["mean"] == last["out.scale"] == last["rough_x"] == 0
    assert last["bias"] == pytest.approx(np.arcsinh(state["fc3.bias"][0]))


def test_token_is_the_distribution_over_units():
    net = filled(SMALL, 4)
    rows = tokens.unit_rows(vector(net), Layout.of(net))
    (found,) = tokens_of(net)
    for role, (units,) in rows.items():
        pooled = [units.mean(0), units.std(0)]
        pooled += list(np.percentile(units, [5, 25, 50, 75, 95], axis=0))
        expected = np.concatenate([[1], *pooled])
        got = found[tokens.ROLES.index(role)]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", GRID[::40], ids=lambda a: a.name)
def test_every_architecture_gives_one_shape(architecture):
    found = tokens_of(filled(architecture, 5))
    assert found.shape == (1, len(tokens.ROLES), len(tokens.NAMES))
    assert found.dtype == np.float32 and np.isfinite(found).all()
    layers = architecture.conv_layers + architecture.fc_layers
    assert found[0, :, 0].sum() == layers
    assert not found[found[..., 0] == 0].any()
    always = ("conv1", "conv2", "conv", "fc1", "hidden", "output")
    assert all(found[0, tokens.ROLES.index(role), 0] for role in always)


def test_nets_are_described_one_by_one():
    a, b = (vector(filled(SMALL, seed)) for seed in (6, 7))
    both = tokens.tokens(np.concatenate([a, b]), SMALL.layout)
    alone = [tokens.tokens(each, SMALL.layout)[0] for each in (a, b)]
    np.testing.assert_allclose(both, alone, rtol=1e-6, atol=1e-7)


def test_extreme_weights_stay_finite_and_broken_ones_do_not():
    vectors = np.repeat(vector(filled(SMALL, 8)), 5, axis=0)
    vectors[0] = 0
    vectors[1] *= 1e37
    vectors[2] = 1e-40
    vectors[3, 17] = np.nan
    vectors[4, -1] = np.inf
    found = tokens.tokens(vectors, SMALL.layout)
    assert np.isfinite(found[:3]).all() and np.isnan(found[3:]).all()


def test_without_batch_norm_as_with_a_neutral_one():
    plain = filled(Architecture(3, 3, 3, 16, 64, batch_norm=False), 9)
    normed = Net(SMALL)
    normed.load_state_dict(normed.state_dict() | plain.state_dict())
    np.testing.assert_array_equal(tokens_of(plain), tokens_of(normed))


def test_zoo_of_several_architectures(tmp_path):
    nets = {a.name: [filled(a, seed) for seed in (1, 2)] for a in (SMALL, DEEP)}
    rows = pd.DataFrame({"run": [3, 8], "layout": list(nets)})
    rows = rows.assign(seed=0, diverged=False)
    history = pd.DataFrame(
        {"run": [3, 8], "epoch": 0, "split": "test", "accuracy": 0.5, "loss": 1.0}
    )
    layouts = {a.name: a.layout for a in (SMALL, DEEP)}
    with ZooWriter.create(
        tmp_path / "zoo", layouts, spec={}, snapshots=range(2)
    ) as writer:
        weights = [
            torch.from_numpy(np.concatenate([vector(n) for n in pair]))
            for pair in nets.values()
        ]
        writer.add(rows, weights, history)
    zoo = Zoo.open(tmp_path / "zoo")
    found, index = tokens.of_zoo(zoo)
    assert index.to_dict("list") == {"run": [3, 3, 8, 8], "snapshot": [0, 1, 0, 1]}
    expected = np.concatenate([tokens_of(n) for pair in nets.values() for n in pair])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    found, index = tokens.of_zoo(zoo, runs=[8], snapshots=[1])
    assert index.to_dict("list") == {"run": [8], "snapshot": [1]}
    np.testing.assert_allclose(found, expected[3:], rtol=1e-6, atol=1e-7)


def test_layouts_and_vectors_that_do_not_fit():
    plain = Layout.of(torch.nn.Sequential(torch.nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="layers \\['0'\\] is none of the sampled"):
        tokens.tokens(np.zeros((1, plain.size)), plain)
    with pytest.raises(ValueError, match="shape \\[1, 5\\] do not fit this layout"):
        tokens.tokens(np.zeros((1, 5)), SMALL.layout)
    rows = SMALL.layout.to_json()
    (row,) = [row for row in rows if row["name"] == "fc1.weight"]
    row["shape"] = [64, 48]  # 3 positions are no square
    odd = Layout.from_json(rows)
    with pytest.raises(ValueError, match="'fc1.weight' has 48 inputs, .* 16 units"):
        tokens.tokens(np.zeros((1, odd.size)), odd)


# --- the meta-classifier --------------------------------------------------------


def planted(n=24, per_net=2):
    """Nets of two architectures; in half of them fc1 has biases four times as wide."""
    found, labels = [], []
    for seed in range(n):
        architecture = (SMALL, DEEP)[seed // 2 % 2]
        vectors = np.repeat(vector(filled(architecture, seed)), per_net, axis=0)
        layout = architecture.layout
        bias = layout.select(layer="fc1", kind="bias").numpy()
        vectors[:, bias] *= 4 if seed % 2 else 1
        vectors += 1e-3 * np.random.default_rng(seed).standard_normal(vectors.shape)
        found.append(tokens.tokens(vectors, layout))
        labels.append("wide" if seed % 2 else "narrow")
    runs = pd.DataFrame({"run": range(n), "kind": labels})
    index = pd.DataFrame({"run": np.repeat(np.arange(n), per_net)})
    return labelled(np.concatenate(found), index, runs, "kind"), runs


def test_learns_a_planted_difference_among_several_architectures():
    examples, runs = planted()
    judged = judge(token_net.train, examples, rounds(runs, "kind", n_rounds=1))
    assert judged.accuracies[0] >= 0.8 and judged.n_test == 8


def test_classifier_does_not_see_the_order_of_units():
    examples, _ = planted(n=12, per_net=1)
    fitted = token_net.train(examples, seed=0)
    net = filled(DEEP, 40)
    a, b = (fitted.predict_proba(tokens_of(n)) for n in (net, shuffled(net, 1)))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_same_seed_same_predictions():
    examples = noise_examples()
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    one, same, other = (token_net.train(examples, seed=s) for s in (1, 1, 2))
    p = one.predict_proba(examples.features)
    assert np.array_equal(p, same.predict_proba(examples.features))
    assert not np.array_equal(p, other.predict_proba(examples.features))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_probabilities_and_classes():
    examples = noise_examples(n=30, classes=(64, 32, 128))
    fitted = token_net.train(examples, seed=0)
    assert fitted.classes_.tolist() == [32, 64, 128]
    p = fitted.predict_proba(examples.features)
    assert p.shape == (60, 3) and p.min() >= 0
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    predicted = fitted.predict(examples.features)
    assert np.array_equal(predicted, fitted.classes_[p.argmax(1)])
    one_by_one = [fitted.predict_proba(row[None])[0] for row in examples.features[:5]]
    np.testing.assert_allclose(p[:5], one_by_one, atol=1e-6)


def test_layers_no_net_has_change_nothing():
    """Whatever a test net has there, in training there was nothing to learn from."""
    examples = noise_examples()
    examples.features[:, 1] = 0
    fitted = token_net.train(examples, seed=0)
    full = noise_examples(seed=1).features
    lacking = full.copy()
    lacking[:, 1] = 0
    a, b = fitted.predict_proba(full), fitted.predict_proba(lacking)
    assert np.array_equal(a, b)
    junk = examples.features.copy()
    junk[-1, -1, 1:] = 9  # of a layer said to be absent
    a, b = (fitted.predict_proba(x) for x in (examples.features, junk))
    assert np.array_equal(a, b)


def test_labels_do_not_leak_between_nets():
    """Nets of noise are told apart no better than by chance."""
    examples = noise_examples(n=60, numbers=20)
    table = pd.DataFrame({"run": np.arange(60), "kind": examples.labels[::2]})
    judged = judge(token_net.train, examples, rounds(table, "kind", n_rounds=2))
    assert 0.3 < judged.mean < 0.7


def test_units_of_the_numbers_do_not_matter():
    examples = noise_examples()
    scaled = Examples(examples.features.copy(), examples.labels, examples.runs)
    scaled.features[..., 1:] *= 2.0**30
    a, b = (token_net.train(e, seed=3).predict_proba(e.features)
            for e in (examples, scaled))  # fmt: skip
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_what_tells_classes_apart_comes_in_larger():
    examples = noise_examples(n=40, numbers=8)
    examples.features[:, 0, 3] += 4 * (examples.labels == "b")
    examples.features[:, 2, 5] = 7  # tells nothing
    gain = token_net.train(examples, seed=0).gain
    assert gain[0, 3] == gain[:, 1:].max() and gain[2, 5] == 0
    exact = noise_examples()
    exact.features[:, 0, 2] = exact.labels == "b"
    fitted = token_net.train(exact, seed=0)
    assert np.mean(fitted.predict(exact.features) == exact.labels) == 1


def test_examples_that_cannot_be_learned_from():
    examples = noise_examples()
    flat = Examples(examples.features[:, 0], examples.labels, examples.runs)
    with pytest.raises(ValueError, match="shape \\[48, 6\\] are no tokens"):
        token_net.train(flat, 0)
    broken = noise_examples()
    broken.features[3, 1, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 48 rows of tokens are not finite"):
        token_net.train(broken, 0)
    with pytest.raises(ValueError, match="all examples are \\['a'\\]"):
        token_net.train(noise_examples(classes=("a",)), 0)
    with pytest.raises(ValueError, match="a single net is b"):
        token_net.train(examples.of([0, 1, 2, 4]), 0)
    fitted = token_net.train(examples, 0)
    with pytest.raises(ValueError, match="shape \\[2, 6\\], trained on \\[3, 6\\]"):
        fitted.predict(examples.features[:, :2])
    with pytest.raises(ValueError, match="48 of 48 rows"):
        fitted.predict_proba(examples.features * np.nan)
