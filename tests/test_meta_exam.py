"""The exam of deep meta-classifiers: equal questions to equal nets, kept trainings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nwslib.meta import exam, whole_net
from nwslib.meta.exam import Exam
from nwslib.meta.pool import OFFSETS, Pool
from nwslib.meta.protocol import Split
from nwslib.nws.architecture import FIXED, Architecture
from nwslib.profiles import get_profile
from nwslib.zoo import Zoo, ZooWriter

SMALL = Architecture(3, 3, 3, 16, 64)  # no slice of its convolutions
SNAPSHOTS = (16, 17, 18, 19)
WIDTH = 1 / 4


def write_zoo(path, count, architectures):
    """Nets whose neighbouring weights agree (relu) or alternate (tanh)."""
    layouts = {each.name: each.layout for each in architectures}
    rng = np.random.default_rng(0)
    with ZooWriter.create(path, layouts, spec={}, snapshots=SNAPSHOTS) as writer:
        for run in range(count):
            architecture = architectures[run % len(architectures)]
            activation = ("relu", "tanh")[run // 2 % 2]
            shape = len(SNAPSHOTS), architecture.n_weights
            values = np.abs(rng.standard_normal(shape, dtype=np.float32))
            if activation == "tanh":
                values[:, ::2] *= -1
            row = {
                "run": run, "seed": 0, "layout": architecture.name,
                "activation": activation, "optimizer": ("adam", "momentum")[run % 2],
                "n_conv_weights": architecture.n_conv_weights,
                "filter_size": architecture.filter_size,
            }  # fmt: skip
            scores = {"split": "test", "accuracy": 0.9, "loss": 1.0}
            writer.add(
                [row], [torch.from_numpy(values)], [{"run": run, "epoch": 0} | scores]
            )
    return Zoo.open(path)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exam")
    zoos = {
        "fixed": write_zoo(folder / "fixed", 16, [FIXED]),
        "main": write_zoo(folder / "main", 12, [FIXED, SMALL]),
    }
    others = dict.fromkeys(exam.HYPERPARAMETERS, 0)  # of one class, so never asked
    runs = [
        zoo.runs.assign(run=zoo.runs["run"] + OFFSETS[name], set=name)
        for name, zoo in zoos.items()
    ]
    table = pd.concat(runs, ignore_index=True)
    table = table.assign(**{k: v for k, v in others.items() if k not in table})
    pool = Pool(zoos, table)
    store = pool.store(file=folder / "weights.bin")
    return Exam(pool, store, folder, n_rounds=2, seed=3, least=3)


def recipe(kind="local", epochs=30):
    small = get_profile("quick")
    small = replace(small, deep_width=WIDTH, local_epochs=epochs, global_epochs=epochs)
    # In bfloat16, where the processor has it, other nets come out of so few steps.
    return replace(exam.recipes(small)[kind], batch=14, autocast=False)


def test_questions_are_those_with_nets_enough(room):
    assert set(room.questions("fixed")) == {"activation", "optimizer"}
    both = room.questions("fixed", "main")
    assert set(both) == {"activation", "optimizer", "filter_size"}
    assert len(both["activation"]) == room.n_rounds
    for split in both["filter_size"]:  # main alone
        assert min(*split.train, *split.test) >= OFFSETS["main"]
    assert set(room.questions("fixed", among=("optimizer", "init"))) == {"optimizer"}


def test_slices_are_asked_of_nets_that_have_them_in_every_part(room):
    asked = room.questions("fixed", "main", slices=True)
    assert set(asked) == {"activation", "optimizer"}  # one filter size is left
    runs = room.pool.runs.set_index("run")
    for split in asked["activation"]:
        for ids in (split.train, split.test):
            assert (runs.loc[ids, "n_conv_weights"] >= 5000).all()


def test_jobs_learn_from_the_last_snapshots_of_training_nets(room):
    asked = room.questions("fixed")
    for kind, last in exam.LAST.items():
        jobs = room.jobs(asked, recipe(kind))
        assert len(jobs) == len({job.name for job in jobs}) == 4
        for job in jobs:
            rows = room.store.index.iloc[job.examples.features]
            assert set(rows["snapshot"]) == set(SNAPSHOTS[-last:])
        (first, second) = (j for j in jobs if j.name.startswith("activation"))
        assert (first.seed, second.seed) == (3, 4)
        split = asked["activation"][1]
        assert set(second.examples.runs) == set(split.train)


@pytest.fixture(scope="module")
def trained(room):
    asked = {"activation": room.questions("fixed", "main", slices=True)["activation"]}
    return asked["activation"], room.train(asked, recipe())["activation"]


def test_a_planted_difference_is_told_and_trainings_are_kept(room, trained):
    splits, classifiers = trained
    found = room.taken("activation", splits, classifiers)
    assert len(found["accuracies"]) == 2 and min(found["accuracies"]) > 0.9
    assert found["chance"] == 0.5
    assert (found["n_train"], found["n_test"]) == tuple(
        len(ids) for ids in (splits[0].train, splits[0].test)
    )
    files = sorted(room.folder.glob("*/activation-local-all-5000-*.pt"))
    before = [file.stat().st_mtime_ns for file in files]
    again = room.train({"activation": splits}, recipe())["activation"]
    assert [file.stat().st_mtime_ns for file in files] == before and len(files) == 2
    for one, other in zip(classifiers, again, strict=True):
        for a, b in zip(one.net.parameters(), other.net.parameters(), strict=True):
            assert torch.equal(a, b)


def test_another_recipe_is_trained_beside_the_first(room, trained):
    splits, classifiers = trained
    other = replace(recipe(), epochs=2)
    again = room.train({"activation": splits[:1]}, other)["activation"]
    assert len(again[0].history) == 2 and len(classifiers[0].history) == 30


def test_another_store_is_asked_about_the_same_nets(room, trained):
    splits, classifiers = trained
    blank = room.pool.store([19], kinds=("weight",))
    blank.flat.zero_()
    found = room.taken("activation", splits, classifiers, blank)
    assert found["accuracies"] == [0.5, 0.5]  # always the same answer


@pytest.mark.slow
def test_whole_nets_by_vote_and_by_what_was_learned(room, trained):
    splits, classifiers = trained
    assert room.voted("activation", splits, classifiers)["accuracies"] == [1, 1]
    found = room.aggregated("activation", splits[:1], classifiers[:1])
    assert found["accuracies"] == [1]
    assert found["n_train"] == len(splits[0].train)
    kept = sorted(room.folder.glob("*/halves-activation-local-all-5000-*/fold-*.pt"))
    assert len(kept) == 2  # halves


def test_aggregation_learns_from_training_nets_alone(room, trained, monkeypatch):
    splits, classifiers = trained
    heard = []

    def out_of_fold(store, examples, recipe, seed, **options):
        heard.append(set(examples.runs))
        raise InterruptedError

    monkeypatch.setattr(whole_net, "out_of_fold", out_of_fold)
    with pytest.raises(InterruptedError):
        room.aggregated("activation", splits, classifiers)
    assert heard == [set(splits[0].train)]


def test_a_share_of_training_nets_is_balanced_and_nested():
    runs = pd.DataFrame({"run": range(40), "init": ["a"] * 20 + ["b"] * 20})
    order = np.random.default_rng(0).permutation(40)
    split = Split(order[:32], order[32:])
    quarter, half = (exam.fewer(split, runs, "init", s) for s in (0.25, 0.5))
    assert set(quarter.train) < set(half.train) < set(split.train)
    assert quarter.test is split.test
    counts = np.bincount(half.train // 20)
    whole_counts = np.bincount(split.train // 20)
    assert counts.tolist() == [round(0.5 * n) for n in whole_counts]
    least = exam.fewer(split, runs, "init", 0.0)
    assert np.bincount(least.train // 20).tolist() == [2, 2]


def test_results_as_tables():
    def of(*accuracies):
        return {"accuracies": list(accuracies), "chance": 0.25, "n_train": 8,
                "n_test": 4}  # fmt: skip

    found = {"init": {"DMC": of(0.5, 0.7), "SVM": of(0.4)}}
    table = exam.summary(found)
    assert table["mean"].tolist() == pytest.approx([0.6, 0.4])
    assert table["std"][0] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert np.isnan(table["std"][1])
    wide = exam.as_table(found)
    assert wide.loc["init"].tolist() == ["60.0\u00a0±\u00a014.1", "40.0", "25.0", 8, 4]
    assert exam.skill(of(0.5, 0.7)) == pytest.approx(0.35 / 0.75)


def test_narrow_dmcs_leave_no_units_out():
    assert recipe().dropout == 0
    assert exam.recipes(get_profile("paper"))["global"].dropout == 0.5


def taken(*accuracies, n_test=50):
    return {"accuracies": accuracies, "chance": 0.5, "n_test": n_test}


def test_errors_are_those_of_a_share_of_the_nets():
    assert exam.error(taken(0.5, 0.7)) == pytest.approx(np.sqrt(0.6 * 0.4 / 100))
    difference, error = exam.gap(taken(0.9, 0.7), taken(0.5, 0.7))
    assert difference == pytest.approx(0.2)
    assert error == pytest.approx(np.sqrt((0.8 * 0.2 + 0.6 * 0.4) / 100))
    mean, error = exam.average([(0.2, 0.03), (0.4, 0.04)])
    assert (mean, error) == pytest.approx((0.3, 0.025))


def test_an_error_is_the_spread_of_many_exams():
    rng = np.random.default_rng(0)
    means = rng.binomial(50, 0.7, (4000, 2)).mean(axis=1) / 50
    assert exam.error(taken(0.7, 0.7)) == pytest.approx(means.std(), rel=0.05)


@pytest.mark.parametrize(
    "difference, error, least, expected",
    [
        (0.3, 0.1, 0, "agrees"), (-0.3, 0.1, 0, "contradicts"),
        (0.3, 0.2, 0, "undecided"), (-0.3, 0.2, 0, "undecided"),
        (0.3, 0.1, 0.4, "undecided"), (0.1, 0.1, 0.4, "contradicts"),
        (0, 0, 0, "undecided"),
    ],
)  # fmt: skip
def test_a_verdict_takes_two_standard_errors(difference, error, least, expected):
    assert exam.verdict(difference, error, least) == expected


def test_points_in_words():
    assert exam.points((-0.273, 0.0341)) == "-27.3 ± 3.4 points"
