"""Asking a net how it was trained: what is recognised, guessed, refused and kept."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from safetensors.torch import save_file
from scipy.spatial.distance import mahalanobis
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from nwslib.__main__ import main
from nwslib.features import layerwise, layerwise_names
from nwslib.meta import guess, guesser_file, unusual
from nwslib.meta.calibration import Calibrated
from nwslib.meta.family import NotOfTheFamily, recognise
from nwslib.meta.protocol import Examples
from nwslib.nws import FIXED, GRID, Architecture, Net
from nwslib.nws.architecture import initialise
from nwslib.nws.conv_map import KINDS
from nwslib.zoo import Zoo, ZooWriter

SMALLEST = Architecture(3, 3, 3, 16, 64)
N_RUNS, SNAPSHOTS = 16, range(5)
#: Two categories of each hyper-parameter, and the kind of weights that tells them.
CHOICES = {
    "dataset": (("mnist", "svhn"), "mean"),
    "batch_size": ((32, 256), "bias"),
    "augmentation": ((False, True), "beta"),
    "optimizer": (("adam", "momentum"), "gamma"),
    "activation": (("relu", "tanh"), "var"),
    "init": (("glorot_normal", "glorot_uniform"), "weight"),
}


def drawn(run: int) -> dict:
    """A run's hyper-parameters, in 16 runs each category 8 times, no two alike."""
    bits = [run >> k & 1 for k in range(4)]
    places = (*bits, bits[0] ^ bits[1], bits[2] ^ bits[3])
    return {
        name: values[place]
        for place, (name, (values, _)) in zip(places, CHOICES.items(), strict=True)
    }


def net(run: int, snapshot: int = 4, choices: dict | None = None) -> dict:
    """A state_dict in which every hyper-parameter has left its mark."""
    generator = torch.Generator().manual_seed(run)
    state = initialise(Net(SMALLEST), "glorot_normal", generator).state_dict()
    for tensor in state.values():
        tensor += 0.05 * torch.rand(tensor.shape, generator=generator)
    generator.manual_seed(10_000 + 100 * run + snapshot)
    for tensor in state.values():
        tensor += 0.001 * torch.rand(tensor.shape, generator=generator)
    choices = choices or drawn(run)
    for name, (values, kind) in CHOICES.items():
        for place in state:
            if place.endswith(kind):
                state[place] += float(values.index(choices[name]))
    return state


def vector(run: int, snapshot: int) -> torch.Tensor:
    if snapshot == 0:
        generator = torch.Generator().manual_seed(run)
        return SMALLEST.layout.flatten(initialise(Net(SMALLEST), "normal", generator))
    return SMALLEST.layout.flatten(net(run, snapshot))


def plain(examples: Examples, seed: int = 0) -> Pipeline:
    """A trainer that chooses nothing."""
    steps = [("selection", SelectKBest(k=5)), ("model", LogisticRegression())]
    return Pipeline(steps).fit(examples.features, examples.labels)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """16 nets that learned something and two that did not."""
    path = tmp_path_factory.mktemp("guess") / "zoo"
    layouts = {SMALLEST.name: SMALLEST.layout, FIXED.name: FIXED.layout}
    with ZooWriter.create(path, layouts, spec={}, snapshots=SNAPSHOTS) as writer:
        for run in range(N_RUNS + 2):
            accuracy = 0.9 if run < N_RUNS else 0.1
            row = {"run": run, "seed": 0, "layout": SMALLEST.name} | drawn(run)
            scores = {"split": "test", "accuracy": accuracy, "loss": 1.0}
            weights = torch.stack([vector(run, each) for each in SNAPSHOTS])
            writer.add(
                [row | {"test_accuracy": accuracy}],
                [weights],
                [{"run": run, "epoch": 0} | scores],
            )
    return Zoo.open(path)


@pytest.fixture(scope="module")
def guesser(zoo):
    return guess.fit([zoo], plain)


@pytest.fixture(scope="module")
def model(guesser, tmp_path_factory):
    return guesser_file.save(guesser, tmp_path_factory.mktemp("model") / "g.skops")


# --- the family ---------------------------------------------------------------------


@pytest.mark.parametrize("architecture", [*GRID[::40], GRID[-1], FIXED])
@pytest.mark.parametrize("prefix", ["", "model.", "a.b.net."])
def test_a_net_of_the_family_is_recognised(architecture, prefix):
    state = Net(architecture).state_dict()
    changed = {f"{prefix}{name}": t for name, t in sorted(state.items(), reverse=True)}
    changed[f"{prefix}conv1.num_batches_tracked"] = torch.tensor(7)
    found, same = recognise(changed)
    assert found == architecture
    assert list(same) == list(state)
    assert all(same[name] is state[name] for name in state)


def test_half_precision_is_the_same_net():
    state = {name: t.half() for name, t in Net(FIXED).state_dict().items()}
    assert recognise(state)[0] == FIXED


BARE = Net(FIXED).state_dict()


@pytest.mark.parametrize(
    ("state", "clause"),
    [
        ({}, "it has no 'conv1.weight'; its tensors are called nothing"),
        (
            torch.nn.Linear(3, 2).state_dict(),
            "it has no 'conv1.weight'; its tensors are called 'bias', 'weight'",
        ),
        (
            {f"layer{k}.weight": torch.ones(2) for k in range(5)},
            "it has no 'conv1.weight'; its tensors are called 'layer0.weight', "
            "'layer1.weight', 'layer2.weight', ...",
        ),
        (
            {"conv1.weight": torch.ones(4, 3, 3, 3), "x": torch.ones(1)},
            "it has no 'fc1.weight'; its tensors are called 'conv1.weight', 'x'",
        ),
        (
            BARE | {"conv1.weight": torch.ones(8, 3)},
            "'conv1.weight' has 2 dimensions instead of 4",
        ),
        (
            BARE | {"conv1.weight": torch.ones(8, 3, 11, 11)},
            "its filter size would be 11, and the family has 3, 5 or 7",
        ),
        (
            BARE | {"fc4.weight": torch.ones(1), "fc5.weight": torch.ones(1)}
            | {"fc6.weight": torch.ones(1)},
            "its number of fully connected layers would be 6, and the family has 3, 4 "
            "or 5",
        ),
        (
            Net(Architecture(batch_norm=False)).state_dict(),
            "it has no batch norm, whose statistics the guess rests upon",
        ),
        (
            {name: t for name, t in BARE.items() if name != "fc2.var"},
            "it has no 'fc2.var'",
        ),
        (BARE | {"head": torch.ones(1)}, "it has 'head', which no net of the family"),
        (
            BARE | {"conv3.weight": torch.ones(5, 16, 5, 5)},
            "'conv3.weight' is 5 x 16 x 5 x 5 where the net that it resembles most, "
            "f5-c3x32-d3x128, has 32 x 16 x 5 x 5",
        ),
        (BARE | {"fc1.bias": torch.tensor(1.0)}, "'fc1.bias' is a single number where"),
    ],
)  # fmt: skip
def test_what_makes_a_net_another_is_named(state, clause):
    with pytest.raises(NotOfTheFamily) as caught:
        recognise(state)
    assert str(caught.value).startswith(clause)


# --- what is unusual ----------------------------------------------------------------


def test_the_kinds_of_the_score_are_those_of_the_features():
    names = np.array(layerwise_names(FIXED.layout)).reshape(unusual.SHAPE)
    for place, kind in enumerate(KINDS):
        assert {name.split(".")[1] for name in names[:, place].ravel()} == {kind}


def test_the_score_is_the_oddest_kinds_share_outside_the_range():
    usual = unusual.Range(np.zeros(480), np.ones(480), margin=0)
    features = np.full((4, *unusual.SHAPE), 0.5)
    features[1, :, 2] = 1.5  # all of one kind
    features[2, 0, 3, :8], features[2, 1, 4, 0] = -1, 2  # 8 of 80, 1 of 80
    features[3, 4, 5, 7] = np.nan
    shares = usual.shares(features.reshape(4, 480))
    expected = np.zeros((4, 6))
    expected[1, 2], expected[2, 3:5], expected[3, 5] = 1, (0.1, 1 / 80), 1 / 80
    np.testing.assert_allclose(shares, expected, atol=1e-15)
    np.testing.assert_allclose(
        usual.score(features.reshape(4, 480)), [0, 1, 0.1, 1 / 80], atol=1e-15
    )


def test_well_outside_is_a_share_of_the_logarithmic_range():
    usual = unusual.Range(np.full(480, 0.1), np.full(480, 10.0), margin=0.5)
    inside = [0.0101, 0.1, 10, 99.9]  # a decade at either end
    beyond = [0.0099, 101, 0, -1, 1e300, np.inf, np.nan]
    assert not usual.score(np.repeat(np.array(inside)[:, None], 480, 1)).any()
    assert usual.score(np.repeat(np.array(beyond)[:, None], 480, 1)).min() == 1
    constant = unusual.Range(np.zeros(480), np.zeros(480))
    found = constant.score(np.repeat(np.array([0, 1e-20, 1e300])[:, None], 480, 1))
    assert found.tolist() == [0, 1, 1]


def test_the_margin_lowers_the_limit_and_so_notices_more():
    rng = np.random.default_rng(0)
    # Each net has a size of its own; the two at the ends are out in everything.
    size = np.linspace(-1, 1, 80)[:, None]
    size[[0, -1]] *= 1.3
    features = np.exp(size + 0.02 * rng.normal(size=(80, 480)))
    runs = np.arange(80)
    tenth = np.zeros(unusual.SHAPE, bool)
    tenth[:, 2, :4] = True  # a quarter of one kind's, constant
    odd = np.where(tenth.ravel(), 0.0, features)

    def strict(known):
        return unusual.Range(known.min(0), known.max(0), margin=0).score

    caught = {
        learn: unusual.detected(learn, features, runs, {"odd": (odd, runs)})["unusual"]
        for learn in (strict, unusual.outside)
    }
    assert caught[strict][1] < 0.1 < 0.9 < caught[unusual.outside][1]
    assert caught[unusual.outside][0] <= 0.02


def test_a_net_is_untrained_until_batch_norm_has_moved():
    generator = torch.Generator().manual_seed(0)
    for architecture in (SMALLEST, FIXED):
        state = initialise(Net(architecture), "constant", generator).state_dict()
        layout = architecture.layout
        assert unusual.untrained(layout.flatten(state).numpy(), layout)
        # its statistics alone, by images that went through, are no training
        state["conv1.mean"] += 1
        assert unusual.untrained(layout.flatten(state).numpy(), layout)
        for name in ("conv2.gamma", "fc1.beta"):
            moved = {key: tensor.clone() for key, tensor in state.items()}
            moved[name][3] += 1e-6
            assert not unusual.untrained(layout.flatten(moved).numpy(), layout)


def test_the_limit_leaves_one_in_a_hundred_held_out_nets_above():
    rng = np.random.default_rng(0)
    features, runs = rng.normal(size=(400, 480)), np.repeat(np.arange(200), 2)
    usual = unusual.Range.of(features, runs)
    np.testing.assert_array_equal(usual.lowest, features.min(axis=0))
    np.testing.assert_array_equal(usual.highest, features.max(axis=0))
    assert not usual.score(features).any()
    scores = unusual.held_out_scores(unusual.outside, features, runs)
    assert usual.limit == np.quantile(scores, 0.99)
    assert np.mean(scores > usual.limit) <= 0.01


def test_no_net_is_scored_by_what_was_learned_from_itself():
    seen = []

    def learn(known):
        seen.append(set(known[:, 0]))
        return lambda rows: np.array([float(row in seen[-1]) for row in rows[:, 0]])

    runs = np.repeat(np.arange(7), 3)
    assert not unusual.held_out_scores(learn, runs[:, None], runs).any()
    assert len(seen) == 5
    with pytest.raises(ValueError, match=r"^1 net to learn what is usual from: give"):
        unusual.held_out_scores(learn, runs[:3, None], runs[:3])


def test_the_distance_is_mahalanobis():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(5000, 3)) @ rng.normal(size=(3, 3))
    scores = unusual.distance(known)(known[:20])
    precision = np.linalg.inv(np.cov(known.T))
    expected = [mahalanobis(row, known.mean(axis=0), precision) for row in known[:20]]
    np.testing.assert_allclose(scores, expected, rtol=0.1)  # ranks, not values


def test_changes_do_what_they_are_called():
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000).astype(np.float32)
    done = {name: change(x, rng) for name, change in unusual.CHANGES.items()}
    assert not done["zeros"].any()
    np.testing.assert_array_equal(done["doubled"], 2 * x)
    assert (done["shuffled"] != x).any()
    np.testing.assert_array_equal(np.sort(done["shuffled"]), np.sort(x))
    assert 100 < len(np.unique(done["8 bits"])) <= 255
    assert np.abs(done["8 bits"] - x).max() <= np.abs(x).max() / 254 * 1.001
    assert np.std(done["noise of 10 %"] - x) == pytest.approx(0.1 * x.std(), rel=0.05)
    assert not unusual.CHANGES["8 bits"](np.zeros(3), rng).any()


def test_a_zoos_foreign_nets(zoo):
    cases = unusual.changed(zoo)
    assert list(cases) == ["untrained", *unusual.CHANGES, "failed"]
    for name, (features, ids) in cases.items():
        learned = list(range(N_RUNS))
        assert ids.tolist() == (learned if name != "failed" else [16, 17])
        assert features.shape == (len(ids), 480)
    doubled = 2 * vector(3, 4)[None].numpy()
    np.testing.assert_array_equal(
        cases["doubled"][0][3], layerwise(doubled, SMALLEST.layout)[0]
    )
    rng = np.random.default_rng([0, 3])
    pieces = [vector(3, 4)[piece.start : piece.stop] for piece in SMALLEST.layout]
    shuffled = np.concatenate([rng.permutation(piece.numpy()) for piece in pieces])
    np.testing.assert_array_equal(
        cases["shuffled"][0][3], layerwise(shuffled[None], SMALLEST.layout)[0]
    )


def test_detection_is_measured_on_nets_apart():
    rng = np.random.default_rng(0)
    runs = np.repeat(np.arange(100), 2)
    features = rng.normal(size=(200, 480))
    table = pd.DataFrame({"run": range(100), "init": ["a", "b"] * 50})
    features[runs % 2 == 1, :240] += 1e4
    cases = {
        "the same": (features[::2], runs[::2]),
        "far": (features[::2] + 1e8, runs[::2]),
        "of others": (features[:10] - 1e8, np.arange(200, 210)),
    }
    found = unusual.detected(
        unusual.outside, features, runs, cases, table, [("init", "b")]
    ).set_index("case")
    assert list(found.index) == ["known", *cases, "without init b"]
    assert found["rows"].tolist() == [200, 100, 100, 10, 100]
    assert found["auroc"][["known", "far", "of others", "without init b"]].tolist() == [
        0.5, 1, 1, 1,
    ]  # fmt: skip
    assert found.loc["the same", "auroc"] == pytest.approx(0.5, abs=0.1)
    assert found["unusual"].iloc[:2].max() <= 0.04
    assert found["unusual"].iloc[2:].min() == 1


# --- guessing -----------------------------------------------------------------------


def test_what_left_a_mark_is_guessed(guesser):
    assert guesser.n_nets == N_RUNS
    assert tuple(guesser.classifiers) == guess.HYPERPARAMETERS
    for name, judged in guesser.judged.items():
        assert set(judged) == {"accuracy", "calibration_error", "commonest"}
        assert judged["accuracy"] > 0.9
        assert 0.5 <= judged["commonest"] < 0.7
        assert guesser.classifiers[name].classes_.tolist() == list(CHOICES[name][0])
    new = {name: values[1] for name, (values, _) in CHOICES.items()}
    answer = guesser.guess(net(500, choices=new))
    assert answer.reason is None and answer.score <= answer.limit
    for name, each in answer.probabilities.items():
        assert next(iter(each)) == new[name]
        assert sum(each.values()) == pytest.approx(1)
        assert list(each.values()) == sorted(each.values(), reverse=True)


def test_order_prefix_and_counters_change_nothing(guesser):
    state = net(3)
    other = {f"module.{name}": state[name] for name in sorted(state)}
    other["module.step"] = torch.tensor(3)
    assert guesser.guess(other) == guesser.guess(state)


def test_many_nets_are_guessed_at_once(guesser):
    vectors = torch.stack([vector(run, 4) for run in range(5)]).numpy()
    many = guesser.probabilities(layerwise(vectors, SMALLEST.layout))
    for run in range(5):
        one = guesser.guess(net(run)).probabilities
        for name, rows in many.items():
            categories = guesser.classifiers[name].classes_.tolist()
            expected = [one[name][category] for category in categories]
            np.testing.assert_allclose(rows[run], expected, rtol=1e-12)


def test_unusual_weights_get_no_guess(guesser):
    answer = guesser.guess({name: 100 * t for name, t in net(0).items()})
    assert answer.probabilities is None
    assert answer.architecture == SMALLEST.name
    assert answer.score > answer.limit
    assert answer.to_text().startswith(
        "unlike anything I was trained on: of the statistics of its "
    )
    assert f"{answer.score:.1%} lie outside the range of the 16 nets" in answer.reason


@pytest.mark.parametrize("init", ["glorot_uniform", "normal", "constant"])
def test_a_net_before_training_gets_no_guess_from_any_guesser(guesser, init):
    generator = torch.Generator().manual_seed(0)
    for architecture, each in ((SMALLEST, guesser), (FIXED, guesser_file.load())):
        state = initialise(Net(architecture), init, generator).state_dict()
        answer = each.guess(state)
        assert answer.probabilities is None
        assert answer.architecture == architecture.name
        assert answer.reason == (
            "it was never trained: all batch norm factors are 1 and all offsets 0, as "
            "before the first step."
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_what_has_no_statistics_gets_no_guess(guesser, value):
    state = {name: t.double() for name, t in net(0).items()}
    state["conv1.weight"][0, 0, 0, 0] = value
    answer = guesser.guess(state)
    assert answer.probabilities is None
    assert answer.reason == (
        "it holds values that are not finite, or too large for statistics."
    )


def test_another_net_gets_no_guess(guesser):
    answer = guesser.guess(torch.nn.Linear(3, 2).state_dict())
    assert answer == guess.Answer(
        reason="it has no 'conv1.weight'; its tensors are called 'bias', 'weight'."
    )


def test_several_zoos_are_numbered_through(zoo):
    features, index, runs = guess._examples([zoo, zoo], None)
    assert len(features) == len(index) == 2 * N_RUNS * 4
    assert runs["run"].is_unique and set(index["run"]) == set(runs["run"])
    assert set(index["snapshot"]) == {1, 2, 3, 4}
    for row in (0, 5, N_RUNS * 4 + 9):
        run = index["run"].iloc[row]
        assert runs.set_index("run").loc[run, "dataset"] == drawn(run % 18)["dataset"]


def test_too_few_nets_are_refused(zoo):
    with pytest.raises(ValueError, match=r"^fewer than two nets of these zoos learned"):
        guess.fit([zoo], thresholds={"mnist": 0.95, "svhn": 0.95})


def test_the_compact_trainer_finds_the_feature_that_tells():
    rng = np.random.default_rng(0)
    runs = np.repeat(np.arange(30), 2)
    features = rng.normal(size=(60, 480))
    features[:, 7] = 9 * (runs % 3)
    features[:, 8] = 1.0
    fitted = guess.compact(Examples(features, runs % 3, runs))
    assert 7 in fitted["selection"].get_support(indices=True)
    new = rng.normal(size=(60, 480))
    new[:, 7], new[:, 8] = 9 * (runs % 3), 1.0
    assert fitted.score(new, runs % 3) > 0.9


# --- on disk ------------------------------------------------------------------------


def test_a_guesser_survives_the_disk(guesser, model):
    again = guesser_file.load(model)
    assert again.judged == guesser.judged and again.n_nets == guesser.n_nets
    assert again.usual.limit == guesser.usual.limit
    assert again.usual.margin == guesser.usual.margin == unusual.MARGIN
    assert again.guess(net(77)) == guesser.guess(net(77))
    assert model.stat().st_size < 1_000_000
    assert [each.name for each in model.parent.iterdir()] == [model.name]


def test_a_compact_classifier_survives_the_disk(guesser, tmp_path):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(20, 480)), np.arange(20) % 2
    small = guess.compact(Examples(features, labels, np.arange(20)))
    scores = LogisticRegression().fit(features[:, :2], labels)
    classifiers = dict(guesser.classifiers, augmentation=Calibrated(small, scores))
    changed = guess.Guesser(
        guesser.scaling, classifiers, guesser.judged, guesser.usual, 20
    )
    again = guesser_file.load(guesser_file.save(changed, tmp_path / "g"))
    np.testing.assert_array_equal(
        again.probabilities(features)["augmentation"],
        changed.probabilities(features)["augmentation"],
    )


def test_a_classifier_that_could_not_be_read_is_not_saved(guesser, tmp_path):
    machine = SVC().fit(np.eye(480)[:2], [0, 1])
    calibration = LogisticRegression().fit(np.eye(2), [0, 1])
    classifiers = dict(guesser.classifiers, init=Calibrated(machine, calibration))
    strange = guess.Guesser(
        guesser.scaling, classifiers, guesser.judged, guesser.usual, 2
    )
    with pytest.raises(
        ValueError, match=r"^a guesser with a 'sklearn.svm._classes.SVC' cannot be"
    ):
        guesser_file.save(strange, tmp_path / "g")
    assert not list(tmp_path.iterdir())


def altered(model, path, schema=lambda text: text, **files):
    """Copy an archive with another schema or other files."""
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename == "schema.json":
                data = schema(data.decode()).encode()
            new.writestr(entry.filename, data)
        for name, data in files.items():
            new.writestr(name, data)
    return path


def unusable(path) -> str:
    """What is wrong with a guesser's file."""
    with pytest.raises(ValueError) as caught:
        guesser_file.load(path)
    said = str(caught.value)
    assert said.startswith(f"guesser {path} cannot be used (")
    assert said.endswith(
        "): make it anew with 'python -m nwslib guess --fit ZOO --model FILE'."
    )
    assert said.isprintable()
    return said


class Bomb:
    """Would run code where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_is_no_guesser(tmp_path):
    (tmp_path / "g").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    assert "it is damaged: BadZipFile" in unusable(tmp_path / "g")
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file_is_refused(model, tmp_path):
    whole = model.read_bytes()
    for n in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "g").write_bytes(whole[:n])
        assert "it is damaged: " in unusable(tmp_path / "g")


def test_types_that_no_guesser_needs_are_refused(model, tmp_path):
    def instead(loader, module, name):
        def change(text):
            schema = json.loads(text)
            schema["content"]["judged"] = {
                "__loader__": loader, "__module__": module, "__class__": name,
                "content": {},
            }  # fmt: skip
            return json.dumps(schema)

        return altered(model, tmp_path / "g", change)

    for loader, module, name in (
        ("FunctionNode", "posix", "system"),
        ("ObjectNode", "sklearn.svm._classes", "SVC"),  # which skops itself trusts
        ("ObjectNode", "sklearn.tree._tree", "Tree"),
        ("MethodNode", "sklearn.pipeline", "Pipeline"),
        ("PartialNode", "functools", "partial"),
        ("Unheard", "builtins", "dict"),
    ):
        said = unusable(instead(loader, module, name))
        assert f"it wants '{module}.{name}', which no guesser needs" in said


def test_a_newer_format_is_refused(model, tmp_path):
    def change(text):
        schema = json.loads(text)
        schema["content"]["format"]["content"] = "3"
        return json.dumps(schema)

    path = altered(model, tmp_path / "g", change)
    assert "it is of format 3, newer than this library's 2" in unusable(path)


def test_a_guesser_of_the_first_format_has_no_margin(guesser, model, tmp_path):
    def change(text):
        schema = json.loads(text)
        schema["content"]["format"]["content"] = "1"
        del schema["content"]["margin"]
        return json.dumps(schema)

    again = guesser_file.load(altered(model, tmp_path / "g", change))
    assert again.usual.margin == 0
    assert again.usual.limit == guesser.usual.limit


def test_another_scikit_learn_is_used_if_it_answers_the_same(
    guesser, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(sklearn, "__version__", "0.1")
    assert guesser_file.load(model).guess(net(5)) == guesser.guess(net(5))
    path = altered(model, tmp_path / "g", lambda text: text.replace("coef_", "coeff_"))
    monkeypatch.undo()
    monkeypatch.setattr(sklearn, "__version__", "99.9")
    version = json.loads(zipfile.ZipFile(model).read("schema.json"))["content"][
        "scikit_learn"
    ]["content"].strip('"')
    assert (
        f"it was made with scikit-learn '{version}' and does not work with 99.9"
        in unusable(path)
    )


def test_an_altered_guesser_is_refused(model, tmp_path):
    def emptied(entry):
        with zipfile.ZipFile(model) as archive:
            before = np.load(io.BytesIO(archive.read(entry)))
        buffer = io.BytesIO()
        np.save(buffer, np.zeros_like(before))
        return buffer.getvalue()

    schema = json.loads(zipfile.ZipFile(model).read("schema.json"))
    answers = schema["content"]["answers"]["content"]["init"]["file"]
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(tmp_path / "g", "w") as new:
        for name in old.namelist():
            new.writestr(name, emptied(name) if name == answers else old.read(name))
    said = unusable(tmp_path / "g")
    assert "it does not answer as it did when it was saved" in said
    for old, new in (("mnist", r"m\\u001bst"), ("dataset", "datasat")):
        path = altered(
            model, tmp_path / "h", lambda text, o=old, n=new: text.replace(o, n)
        )
        assert "damaged" in unusable(path)


def test_a_file_that_fills_the_memory_is_refused(model, tmp_path):
    path = tmp_path / "g"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b"[" * 2**26)
    assert "it claims to unpack to far too much" in unusable(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b"[" * 2**20)
    assert "it is damaged: RecursionError" in unusable(path)
    with open(path, "wb") as file:
        file.truncate(2**26)
    assert "it is far too large" in unusable(path)


def test_a_missing_guesser_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setattr(guesser_file, "DEFAULT", tmp_path / "none.skops")
    for path in (None, tmp_path / "none.skops"):
        with pytest.raises(FileNotFoundError) as caught:
            guesser_file.load(path)
        assert str(caught.value) == (
            f"there is no guesser {tmp_path / 'none.skops'}: make one from sampled "
            "nets with 'python -m nwslib guess --fit ZOO --model FILE'."
        )


# --- the command --------------------------------------------------------------------


def asked(capsys, *arguments) -> tuple[int, str, str]:
    code = main(["guess", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("held", [False, True])
def test_a_checkpoint_is_asked(held, guesser, model, tmp_path, capsys):
    state = net(8)
    if held:
        state = {"epoch": 3, "state_dict": {f"model.{k}": t for k, t in state.items()}}
    torch.save(state, tmp_path / "a.pt")
    code, out, err = asked(capsys, tmp_path / "a.pt", "--model", model)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{SMALLEST.name}, a net of the family, as usual as")
    assert lines[1].split() == ["probability", "right", "(commonest)"]
    answer = guesser.guess(net(8))
    for name, line in zip(guess.HYPERPARAMETERS, lines[2:8], strict=True):
        each = answer.probabilities[name]
        told = ", ".join(f"{v} {p:.0%}" for v, p in each.items() if p >= 0.005)
        assert line.startswith(name) and f" {told} " in line
        assert " 0%" not in line.partition("(")[0]
        assert line.endswith("{accuracy:.0%} ({commonest:.0%})".format(
            **guesser.judged[name]
        ))  # fmt: skip
    assert lines[-1].endswith("Learned from 16 nets.")


def test_the_answer_in_json(guesser, model, tmp_path, capsys):
    state = net(8)
    save_file(state, tmp_path / "part.safetensors")
    index = {"weight_map": dict.fromkeys(state, "part.safetensors")}
    path = tmp_path / "m.safetensors.index.json"
    path.write_text(json.dumps(index))
    code, out, err = asked(capsys, path, "--model", model, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert list(told) == [
        "format", "verdict", "reason", "architecture", "unusual", "hyperparameters",
    ]  # fmt: skip
    assert told["format"] == 1 and told["verdict"] == "guessed"
    assert told["reason"] is None and told["architecture"] == SMALLEST.name
    assert set(told["unusual"]) == {"score", "limit"}
    assert list(told["hyperparameters"]) == list(guess.HYPERPARAMETERS)
    for name, each in told["hyperparameters"].items():
        assert set(each) == {
            "guess", "probabilities", "accuracy", "calibration_error", "commonest",
        }  # fmt: skip
        assert each["guess"] == each["probabilities"][0]["value"]
        assert {row["value"] for row in each["probabilities"]} == set(CHOICES[name][0])
        total = sum(row["probability"] for row in each["probabilities"])
        assert total == pytest.approx(1)


def test_foreign_nets_are_an_answer(model, tmp_path, capsys):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "a.pt")
    torch.save({k: t * 100 for k, t in net(0).items()}, tmp_path / "b.pt")
    for name in "ab":
        path = tmp_path / f"{name}.pt"
        code, out, err = asked(capsys, path, "--model", model)
        assert (code, err) == (0, "")
        assert out.startswith("unlike anything I was trained on: ")
        code, out, err = asked(capsys, path, "--model", model, "--json")
        told = json.loads(out)
        assert (code, err, told["verdict"]) == (0, "", "unlike")
        assert told["hyperparameters"] is None and told["reason"].endswith(".")
        assert (told["unusual"] is None) == (name == "a")


def test_an_unsafe_file_is_refused_and_does_not_run(model, tmp_path, capsys):
    torch.save({"w": torch.ones(3), "x": Bomb(tmp_path / "ran")}, tmp_path / "a\\b.pt")
    code, out, err = asked(capsys, tmp_path / "a\\b.pt", "--model", model)
    assert (code, out) == (1, "")
    assert err.startswith("nwslib: cannot read checkpoint 'a")
    assert "which is more than weights: save model.state_dict() alone." in err
    code, out, err_again = asked(
        capsys, tmp_path / "a\\b.pt", "--model", model, "--json"
    )
    told = json.loads(out)
    assert (code, err_again, told["verdict"]) == (1, err, "refused")
    assert told["reason"].endswith("save model.state_dict() alone.")
    assert not (tmp_path / "ran").exists()


def test_what_is_missing_is_one_sentence(model, tmp_path, capsys):
    code, out, err = asked(capsys, tmp_path / "none.pt", "--model", model)
    assert (code, out) == (1, "")
    assert err.endswith("it is not there, or is a link to nothing: copy it again.\n")
    code, out, err = asked(capsys, tmp_path, "--model", model)
    assert (code, out) == (1, "")
    assert err.endswith("it is a folder, not a file: pass a file.\n")
    code, out, err = asked(capsys, tmp_path / "none.pt", "--model", tmp_path / "no")
    assert code == 1 and err.startswith("nwslib: there is no guesser ")
    code, out, err = asked(capsys)
    assert (code, err) == (
        1, "nwslib: no checkpoint to guess: name one, or zoos with --fit.\n"
    )  # fmt: skip


def test_a_guesser_is_made_from_zoos(zoo, guesser, tmp_path, capsys, monkeypatch):
    def fit(zoos, progress):
        assert [each.path for each in zoos] == [zoo.path] and progress
        return guesser

    monkeypatch.setattr(guess, "fit", fit)
    path = tmp_path / "g.skops"
    code, out, err = asked(capsys, "--fit", zoo.path, "--model", path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("dataset: right in ")
    assert lines[-1] == f"learned from 16 nets: {path}"
    assert guesser_file.load(path).n_nets == N_RUNS
    for arguments in (["--fit", zoo.path], ["x.pt", "--model", path, "--fit", "z"]):
        code, out, err = asked(capsys, *arguments)
        assert (code, out) == (1, "")
        assert err.startswith("nwslib: --fit learns from zoos and writes a file: name")
