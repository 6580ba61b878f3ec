"""Deep meta-classifiers: Table 3 counted, planted differences learned, resumed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nwslib.flatten import Layout
from nwslib.meta import dmc, dmc_training
from nwslib.meta.dmc_classifier import DeepClassifier, Recipe
from nwslib.meta.dmc_training import train
from nwslib.meta.protocol import Examples, labelled
from nwslib.meta.weight_store import WeightStore

# --- the nets -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "printed", "flat"),
    [
        (dmc.global_spec(5), 10_948_997, 5632),
        (dmc.local_spec(5), 10_407_685, 4864),
    ],
)
def test_table_3_is_counted(spec, printed, flat):
    net = dmc.build(spec)
    assert Layout.of(net).size == spec.n_weights == printed
    assert net.fc1[0].in_features == flat
    kinds = [type(m) for m in net.modules()]
    convolutions, fully_connected = {92_868: (15, 6), 5000: (12, 6)}[spec.length]
    assert kinds.count(nn.Conv1d) == convolutions
    assert kinds.count(nn.Linear) == fully_connected
    assert kinds.count(nn.BatchNorm1d) == convolutions + fully_connected - 1
    assert kinds.count(nn.Dropout) == fully_connected - 1


def test_pools_are_those_of_table_3():
    def pooled(spec):
        return [k + 1 for k, layer in enumerate(spec.layers) if layer.pool]

    assert pooled(dmc.global_spec(5)) == [*range(1, 10), 11, 13, 15]
    assert pooled(dmc.local_spec(5)) == [1, 2, 4, 6, 7, 8, 9, 12]


@pytest.mark.parametrize(
    ("length", "pools"),
    [(100, 0), (400, 0), (408, 1), (1000, 2), (5000, 4), (10_000, 5), (20_000, 6)],
)
def test_the_longer_a_slice_the_more_pools(length, pools):
    middle = dmc.local_spec(5, length).layers[5:11]
    assert [layer.pool for layer in middle] == [True] * pools + [False] * (6 - pools)


@pytest.mark.parametrize("length", [16, 100, 201, 5000, 20_000])
def test_any_slice_goes_through(length):
    spec = dmc.local_spec(3, length, width=1 / 64)
    seen = {}
    net = dmc.build(spec).eval()
    for layer in spec.layers:
        part = net.get_submodule(layer.name)
        first = part[0] if layer.hidden else part
        first.register_forward_hook(
            lambda _, __, out, name=layer.name: seen.update({name: out.shape[1:]})
        )
    assert net(torch.randn(2, length)).shape == (2, 3)
    for layer in spec.layers:  # lengths in the table are the lengths that happen
        shape = (layer.outputs, layer.length) if layer.is_conv else (layer.outputs,)
        assert seen[layer.name] == shape


def test_a_layer_is_relu_then_batch_norm_then_pool():
    net = dmc.build(dmc.local_spec(2, 100, width=0.5))
    conv = [type(m) for m in net.conv1]
    assert conv == [nn.Conv1d, nn.ReLU, nn.BatchNorm1d, dmc.PairMax]
    assert [type(m) for m in net.fc1] == [
        nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout,
    ]  # fmt: skip
    assert net.fc1[3].p == 0.5
    assert isinstance(net.fc6, nn.Linear)


@pytest.mark.parametrize("length", [2, 9, 64])
def test_pairs_are_pooled_as_torchs_max_pool_does(length):
    draws = torch.Generator().manual_seed(length)
    x = torch.randint(-2, 3, (5, 4, length), generator=draws).float()  # many equal
    gradient = torch.randn(5, 4, length // 2, generator=draws)
    pools = nn.MaxPool1d(2), dmc.PairMax()
    for at in (x, x.requires_grad_()):
        a, b = (pool(at) for pool in pools)
        assert torch.equal(a, b)
    a, b = (torch.autograd.grad(pool(x), x, gradient)[0] for pool in pools)
    assert torch.equal(a, b)


def plain_net(spec, seed):
    """The same net of torch's layers alone."""
    net = dmc.build(spec, seed)
    for part in net.children():
        if isinstance(part, nn.Sequential):
            part[1] = nn.ReLU()
            if isinstance(part[-1], dmc.PairMax):
                part[-1] = nn.MaxPool1d(2)
    return net


def test_a_training_takes_the_steps_of_the_plain_net():
    draws = torch.Generator().manual_seed(0)
    spec = dmc.local_spec(3, 501, width=1 / 8, dropout=0)
    nets = dmc.build(spec, 4), plain_net(spec, 4)
    adams = [
        torch.optim.Adam(net.parameters(), 1e-3, fused=fused)
        for net, fused in zip(nets, (True, False), strict=True)
    ]
    for _ in range(5):
        x = torch.randn(16, 501, generator=draws)
        y = torch.randint(3, (16,), generator=draws)
        losses = []
        for net, adam in zip(nets, adams, strict=True):
            adam.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            adam.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    ours, plain = (Layout.of(net).flatten(net) for net in nets)
    assert (ours - Layout.of(nets[0]).flatten(dmc.build(spec, 4))).abs().max() > 1e-3
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-3)


def test_width_scales_channels_and_units():
    spec = dmc.local_spec(4, width=1 / 16)
    assert [layer.outputs for layer in spec.layers] == [
        1, 1, 2, 4, 8, *[16] * 7, *[64] * 4, 4, 4,
    ]  # fmt: skip
    assert Layout.of(dmc.build(spec)).size == spec.n_weights
    assert min(la.outputs for la in dmc.local_spec(4, width=1e-3).layers) == 1


def test_dropout_is_a_choice():
    assert Recipe().spec(5) == dmc.local_spec(5)
    assert dmc.local_spec(5).dropout == 0.5
    net = dmc.build(Recipe("global", 4096, width=0.1, dropout=0.1).spec(5))
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.1] * 5


def test_weights_are_read_raw_or_by_their_logarithm():
    assert not any(isinstance(m, dmc.SignedLog) for m in dmc.build(dmc.local_spec(5)))
    x = torch.tensor([[-2.0, -0.01, 0.0, 0.03, 1e4]])
    expected = torch.sign(x) * torch.log1p(x.abs() / 0.01)
    torch.testing.assert_close(dmc.SignedLog(0.01)(x), expected)
    assert x[0, 4] == 1e4  # left as it was
    recipe = Recipe(size=SIZE, width=1 / 8, log_unit=0.5)
    ours, raw = dmc.build(recipe.spec(3)), dmc.build(dmc.local_spec(3, SIZE, 1 / 8))
    x = torch.randn(4, SIZE)
    logs = torch.sign(x) * torch.log1p(x.abs() / 0.5)
    torch.testing.assert_close(ours.eval()(x), raw.eval()(logs))


def test_weights_begin_as_glorots():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    net = dmc.build(dmc.local_spec(5), seed=3)
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Linear) and module.weight.numel() > 1e4:
            outputs, inputs, *taps = module.weight.shape
            field = taps[0] if taps else 1
            expected = (2 / (field * (inputs + outputs))) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.03)
            assert module.weight.abs().max() > 3 * expected  # normal, not uniform
            assert not module.bias.any()
    again, other = (dmc.build(dmc.local_spec(5), seed=s) for s in (3, 4))
    assert torch.equal(net.conv5[0].weight, again.conv5[0].weight)
    assert not torch.equal(net.conv5[0].weight, other.conv5[0].weight)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dmc.local_spec(5, 15), "15 weights is too short for a local DMC.*16"),
        (lambda: dmc.global_spec(5, 4095), "too short for a global DMC.*give 4096"),
        (lambda: dmc.local_spec(1), "n_classes is 1: a DMC tells apart two at least"),
        (lambda: dmc.local_spec(2, width=0), "width is 0: give a positive share"),
        (lambda: dmc.local_spec(2, dropout=1), "dropout is 1: give a share of units"),
        (
            lambda: dmc.local_spec(2, log_unit=-1),
            "log_unit is -1: give a positive size",
        ),
    ],
)
def test_errors_of_the_nets(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_shortest_inputs_fit():
    assert dmc.local_spec(2, 16).layers[-7].length == 2
    assert dmc.global_spec(2, 4096).n_weights > 0


# --- training -------------------------------------------------------------------

SIZE = 64
TINY = Recipe(size=SIZE, width=1 / 4, dropout=0.1, epochs=30, batch=32)
BRIEF = Recipe(size=SIZE, width=1 / 16, epochs=5, batch=16)


def planted(n_runs=24, length=200, classes=("a", "b"), snapshots=2, seed=0):
    """A store whose nets' neighbouring weights agree (a) or alternate (b)."""
    rng = np.random.default_rng(seed)
    rows, vectors = [], []
    for run in range(n_runs):
        sign = (-1.0) ** (np.arange(length) * (run % len(classes)))
        for snapshot in range(snapshots):
            vectors.append(np.abs(rng.standard_normal(length)) * sign)
            start = len(rows) * length
            rows.append((run, snapshot, start, start + length // 4, start + length))
    columns = ["run", "snapshot", "start", "conv_stop", "stop"]
    flat = torch.from_numpy(np.concatenate(vectors).astype(np.float32))
    store = WeightStore(flat, pd.DataFrame(rows, columns=columns))
    runs = pd.DataFrame({"run": range(n_runs)})
    runs["kind"] = [classes[run % len(classes)] for run in range(n_runs)]
    return store, labelled(np.arange(len(store)), store.index, runs, "kind")


def state(classifier):
    return classifier.net.state_dict()


def same(one, other):
    a, b = state(one), state(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def data():
    return planted()


def test_it_learns_a_planted_difference():
    trained = train(*planted(48), TINY, seed=1)
    store, examples = planted(seed=9)
    draws = torch.Generator().manual_seed(0)
    values = store.slices_of(np.arange(len(store)), draws, SIZE)
    probability = trained.predict_proba(values)
    assert probability.shape == (len(store), 2)
    np.testing.assert_allclose(probability.sum(1), 1)
    assert np.mean(trained.predict(values) == examples.labels) > 0.9
    by_array = trained.predict_proba(values.numpy())
    np.testing.assert_array_equal(by_array, probability)
    assert trained.classes_.tolist() == ["a", "b"]
    assert trained.history["loss"].iloc[-1] < trained.history["loss"].iloc[0] / 2


def test_the_global_one_learns_whole_vectors():
    store, examples = planted(32, 4096, snapshots=1)
    recipe = Recipe("global", 4096, width=1 / 4, dropout=0, epochs=40, batch=16)
    classifier = train(store, examples, recipe)
    assert classifier.net.conv15[0].out_channels == 64
    vectors = store.flat.view(len(store), 4096)
    assert np.mean(classifier.predict(vectors) == examples.labels) > 0.9


def test_equal_seeds_give_equal_nets_and_leave_torch_alone(data):
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    one, again = (train(*data, BRIEF, seed=1) for _ in range(2))
    assert same(one, again)
    pd.testing.assert_frame_equal(one.history, again.history)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert not same(one, train(*data, BRIEF, seed=2))


def interrupted(monkeypatch, after):
    """Let training fail when it begins the epoch of this number."""
    learn = dmc_training._Run.learn

    def stopped(run):
        if run.epoch == after:
            raise KeyboardInterrupt
        learn(run)

    monkeypatch.setattr(dmc_training._Run, "learn", stopped)


def nothing_to_learn(examples):
    """Labels by lot: the loss on nets left out will rise."""
    labels = np.random.default_rng(0).permutation(24).repeat(2) % 2
    return Examples(examples.features, labels, examples.runs)


@pytest.mark.parametrize("share", [0, 0.25])
def test_resumed_is_uninterrupted(data, tmp_path, share, monkeypatch):
    recipe = Recipe(
        size=SIZE, width=1 / 16, epochs=7, batch=16, stop_share=share, patience=6
    )
    file = tmp_path / "dmc.pt"
    data = data[0], nothing_to_learn(data[1])
    whole = train(*data, recipe, seed=3)
    if share:  # the best epoch is before the interruption, another is the last
        assert whole.history["stop_loss"].argmin() < 4
    with monkeypatch.context() as patch:
        interrupted(patch, after=5)
        with pytest.raises(KeyboardInterrupt):
            train(*data, recipe, seed=3, checkpoint=file, save_every=2)
    begun = []
    learn = dmc_training._Run.learn
    with monkeypatch.context() as patch:
        patch.setattr(
            dmc_training._Run, "learn", lambda r: (begun.append(r.epoch), learn(r))
        )
        torch.manual_seed(99)
        resumed = train(*data, recipe, seed=3, checkpoint=file, save_every=2)
        assert begun == [4, 5, 6]
        ended = train(*data, recipe, seed=3, checkpoint=file)
        assert begun == [4, 5, 6]  # read, not trained
    for each in (resumed, ended):
        assert same(whole, each)
        pd.testing.assert_frame_equal(whole.history, each.history)
    assert [path.name for path in tmp_path.iterdir()] == ["dmc.pt"]


def test_the_rate_falls_fifty_times(data, monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def seen(self, *args, **options):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", seen)
    recipe = Recipe(size=16, width=1 / 64, epochs=34, batch=16)  # 3 batches an epoch
    train(*data, recipe)
    assert len(rates) == 102
    expected = 1e-3 * 0.95 ** (np.arange(102) // 2)  # 51 pieces
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert rates[-1] == pytest.approx(7.7e-5, rel=0.01)  # as printed


def test_every_mini_batch_has_fresh_slices_and_classes_are_balanced(monkeypatch):
    store, examples = planted(12, classes=("a", "b"))
    few = examples.where((examples.labels == "a") | (examples.runs < 4))  # 12 and 4
    asked = []
    slices_of = WeightStore.slices_of

    def seen(self, rows, *args):
        values = slices_of(self, rows, *args)
        asked.append((rows.tolist(), values))
        return values

    monkeypatch.setattr(WeightStore, "slices_of", seen)
    train(store, few, Recipe(size=32, width=1 / 64, epochs=3, batch=4))
    epochs = [asked[k : k + 2] for k in (0, 2, 4)]
    drawn = [sorted(rows[0] + more[0]) for rows, more in epochs]
    assert len(asked) == 6
    assert drawn[0] == drawn[1] == drawn[2]  # the same rows, each once an epoch
    assert len(set(drawn[0])) == 8
    of = dict(zip(few.features.tolist(), few.labels.tolist(), strict=True))
    assert sorted(of[row] for row in drawn[0]) == ["a"] * 4 + ["b"] * 4
    assert len({value.numpy().tobytes() for _, b in asked for value in b}) == 24


def test_stopping_keeps_the_best_epoch_of_whole_nets_left_out(data, monkeypatch):
    store, examples = data
    shuffled = nothing_to_learn(examples)
    states, looked, look = [], [], dmc_training._Run.look

    def seen(run):
        look(run)
        states.append({k: v.clone() for k, v in run.net.state_dict().items()})
        looked.append((set(run.learned.runs), set(run.left_out.runs)))

    monkeypatch.setattr(dmc_training._Run, "look", seen)
    recipe = Recipe(
        size=SIZE, width=1 / 16, epochs=60, batch=16, stop_share=0.25, patience=3
    )
    classifier = train(store, shuffled, recipe)
    loss = classifier.history["stop_loss"].to_numpy()
    assert len(loss) == loss.argmin() + 1 + 3 < 60
    best = states[loss.argmin()]
    assert all(torch.equal(best[k], v) for k, v in state(classifier).items())
    learned, left_out = looked[0]
    assert not learned & left_out
    assert len(left_out) == 6
    labels = dict(zip(shuffled.runs.tolist(), shuffled.labels.tolist(), strict=True))
    assert sum(labels[run] for run in left_out) == 3
    assert classifier.history["stop_accuracy"].between(0, 1).all()


def test_a_part_is_learned_from_alone(data):
    store, examples = data
    flat = store.flat.clone().view(len(store), -1)
    flat[:, 50:] = torch.nan  # beyond the convolutions
    store = WeightStore(flat.view(-1), store.index)
    train(store, examples, Recipe(size=32, part="conv", width=1 / 64, epochs=2))
    with pytest.raises(ValueError, match="the loss of epoch 1 is not finite: leave"):
        train(store, examples, Recipe(size=32, width=1 / 64, epochs=2))


def test_progress_is_told_only_if_asked_for(data, capsys, eager_log):
    recipe = Recipe(size=16, width=1 / 64, epochs=1)
    train(*data, recipe)
    assert capsys.readouterr().err == ""
    train(*data, recipe, progress=True)
    assert "1 of 1 epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "deep"}, "unknown kind 'deep': choose 'local' or 'global'"),
        ({"epochs": 0}, "0 epochs, patience 20, batch 64: training needs one, one"),
        ({"batch": 1}, "batch 1: training needs one, one and two at least"),
        ({"stop_share": 1}, "stop_share is 1: give a share of nets below 1"),
    ],
)
def test_errors_of_a_recipe(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_errors_of_training(data, tmp_path, monkeypatch):
    store, examples = data

    def fails(message, examples=examples, recipe=TINY, **options):
        with pytest.raises(ValueError, match=message):
            train(store, examples, recipe, **options)

    fails("has 200 weights, fewer than a slice of 201", recipe=Recipe(size=201))
    monkeypatch.setattr(dmc_training, "has_bfloat16", lambda device: False)
    fails("the cpu here has no instructions", recipe=Recipe(size=SIZE, autocast=True))
    fails("save_every is 0", save_every=0)
    fails("no folder .* for the checkpoint", checkpoint=tmp_path / "no" / "dmc.pt")
    fails("n_classes is 1", examples.where(examples.labels == "a"))
    fails(
        "a single net is b: stopping needs two of each class",
        examples.where((examples.labels == "a") | (examples.runs == 1)),
        Recipe(size=SIZE, stop_share=0.1),
    )
    wrong = Examples(store.flat.view(len(store), -1), examples.labels, examples.runs)
    fails("features are no row numbers of the store", wrong)
    beyond = Examples(examples.features + 40, examples.labels, examples.runs)
    fails("no row 87 in a store of 48 snapshots", beyond)


def test_a_checkpoint_of_another_training_is_refused(data, tmp_path):
    store, examples = data
    recipe = Recipe(size=16, width=1 / 64, epochs=1)
    file = tmp_path / "dmc.pt"
    train(store, examples, recipe, checkpoint=file)

    def fails(message, store=store, examples=examples, recipe=recipe, seed=0):
        with pytest.raises(ValueError, match=message):
            train(store, examples, recipe, seed, checkpoint=file)

    fails("is of another training \\(seed is 0, not 1\\): give another file", seed=1)
    longer = Recipe(size=16, width=1 / 64, epochs=2)
    fails("epochs is 1, not 2", recipe=longer)
    fails("another training \\(data is", examples=examples.of(range(20)))
    fails("another training \\(data is", store=planted(seed=1)[0])
    whole = file.read_bytes()
    for damaged in (b"", whole[:1000], b"no checkpoint", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        fails("dmc.pt is damaged: restore it from a copy, or delete it to begin anew")
    torch.save([1, 2], file)
    fails("dmc.pt is of no training: give another file")


def test_a_hostile_checkpoint_runs_nothing(data, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"asked": Hostile()}, tmp_path / "dmc.pt")
    with pytest.raises(ValueError, match="is damaged"):
        train(*data, TINY, checkpoint=tmp_path / "dmc.pt")
    assert not (tmp_path / "ran").exists()


def test_bfloat16_gives_about_the_same_steps_and_answers(data):
    store, examples = data
    half = Recipe(size=SIZE, width=1 / 4, dropout=0, autocast=True)
    full = dataclasses.replace(half, autocast=False)
    x = store.grid(examples.features, [0.5], SIZE)[:, 0]
    y = torch.from_numpy((examples.labels == "b").astype(np.int64))
    losses = {}
    for recipe in (half, full):
        net = dmc.build(recipe.spec(2))
        adam = dmc_training.adam(net)
        losses[recipe] = []
        for _ in range(8):
            with recipe.precision(x.device):
                scores = net(x)
                loss = nn.functional.cross_entropy(scores, y)
            assert (scores.dtype == torch.bfloat16) == recipe.autocast
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses[recipe].append(loss.item())
        assert all(p.dtype == torch.float32 for p in net.parameters())
    np.testing.assert_allclose(losses[half], losses[full], atol=0.05)
    assert losses[half][-1] < losses[half][0] / 2
    classes, history = np.array(["a", "b"]), pd.DataFrame()
    a, b = (
        DeepClassifier(classes, net.eval(), recipe, history).predict_proba(x)
        for recipe in (half, full)
    )
    assert not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=0.05)


def test_slices_of_another_size_are_refused(data):
    trained = train(*data, Recipe(size=SIZE, width=1 / 64, epochs=1))
    with pytest.raises(ValueError, match="trained on rows of 64 weights: give such"):
        trained.predict(np.zeros((3, 65), dtype=np.float32))
