import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nwslib import data, sampling
from nwslib.nets import get_net
from nwslib.recipe import Recipe, Schedule
from nwslib.sampling import grow
from nwslib.train import train_stack
from nwslib.zoo import Zoo, ZooWriter, verify

ROOT = Path(__file__).parent.parent

#: Settings that train both nets a little in a few milliseconds.
RECIPES = {
    "A1": [Recipe(seed=s, lr=0.03 + 0.01 * s) for s in range(5)],
    "A2": [Recipe(seed=s, optimizer="adamw", lr=1e-3) for s in range(5)],
}
SCHEDULE = Schedule(epochs=2, batch_size=12)
both_nets = pytest.mark.parametrize("net", ["A1", "A2"])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Steps this small spend a second thread's time on waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits():
    return data.subset(data.load("digits", size=14), train=300, test=100)


def grown(folder, net, images, recipes=None, schedule=SCHEDULE, **options):
    recipes = RECIPES[net] if recipes is None else recipes
    options = {"progress": False, "stack_size": 2} | options
    return grow(folder, get_net(net), recipes, images, schedule, **options)


def difference(left, right):
    return np.abs(left.weights() - right.weights()).max()


def never(*args, **kwargs):
    raise AssertionError("trained, though nothing was left to train")


def stopping(stacks, stop):
    """A train_stack that trains so many stacks and then calls ``stop``."""
    trained = []

    def train(net, recipes, *args, **kwargs):
        if len(trained) == stacks:
            stop()
        trained.append(recipes)
        return train_stack(net, recipes, *args, **kwargs)

    return train


# --- a zoo on disk ----------------------------------------------------------


@both_nets
def test_zoo_holds_what_training_gives(net, digits, tmp_path):
    zoo = grown(tmp_path, net, digits, stack_size=5)
    assert zoo.complete
    assert verify(zoo.path) == []
    assert zoo.path.parent == tmp_path
    assert zoo.path.name.startswith(f"{net}-")
    trained = train_stack(get_net(net), RECIPES[net], digits, SCHEDULE, progress=False)
    np.testing.assert_array_equal(zoo.weights(), trained.weights.numpy())
    assert zoo.snapshots == (0, 1, 2)
    assert zoo.runs["run"].tolist() == [0, 1, 2, 3, 4]
    for split in ("train", "test"):
        history = zoo.history[zoo.history["split"] == split]
        for measure, value in (
            ("accuracy", trained.accuracy[split]),
            ("loss", trained.loss[split]),
        ):
            table = history.pivot(index="run", columns="epoch", values=measure)
            np.testing.assert_array_equal(table.to_numpy(), value)
            np.testing.assert_array_equal(
                zoo.runs[f"{split}_{measure}"], table.to_numpy()[:, -1]
            )


def test_runs_table_gives_every_recipe_back(digits, tmp_path):
    recipes = [
        Recipe(seed=7, lr=0.05, momentum=0.5),
        Recipe(seed=8, optimizer="adam", lr=0.01, weight_decay=0.1, batch_seed=3),
        Recipe(seed=9, optimizer="adamw", init="xavier_uniform", beta2=0.9),
    ]
    zoo = grown(tmp_path, "A1", digits, recipes)
    expected = [replace(recipes[0], batch_seed=7), recipes[1]]
    expected.append(replace(recipes[2], batch_seed=9))
    columns = list(Recipe.__dataclass_fields__)
    rows = zoo.runs[columns].to_dict("records")
    assert [Recipe(**row) for row in rows] == expected


@both_nets
def test_second_call_opens_and_does_not_train(net, digits, tmp_path, monkeypatch):
    first = grown(tmp_path, net, digits)
    monkeypatch.setattr(sampling, "train_stack", never)
    second = grown(tmp_path, net, digits, stack_size=3)
    assert second.path == first.path
    assert difference(first, second) == 0


@both_nets
@pytest.mark.parametrize("stack_size", [1, 2, 100])
def test_stack_size_does_not_change_results(net, stack_size, digits, tmp_path):
    zoo = grown(tmp_path / "one", net, digits, stack_size=stack_size)
    whole = grown(tmp_path / "other", net, digits, stack_size=5)
    shards = list((zoo.path / "weights").iterdir())
    assert len(shards) == -(-5 // stack_size)
    assert zoo.path.name == whole.path.name
    assert difference(zoo, whole) == 0


def test_diverged_nets_are_kept_and_marked(digits, tmp_path):
    recipes = [Recipe(seed=0), Recipe(seed=1, lr=1e30), Recipe(seed=2)]
    zoo = grown(tmp_path, "A1", digits, recipes)
    assert zoo.runs["diverged"].tolist() == [False, True, False]
    finite = np.isfinite(zoo.weights()).all(axis=(1, 2))
    assert finite.tolist() == [True, False, True]
    assert zoo.select(diverged=False) == [0, 2]


# --- killed and resumed -----------------------------------------------------


@both_nets
@pytest.mark.parametrize("stacks", [0, 1, 2])
def test_stopped_run_goes_on_where_it_ended(net, stacks, digits, tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sampling, "train_stack", stopping(stacks, interrupt))
        with pytest.raises(KeyboardInterrupt):
            grown(tmp_path / "stopped", net, digits)
    seen = []

    def watched(net, recipes, *args, **kwargs):
        seen.extend(recipe.seed for recipe in recipes)
        return train_stack(net, recipes, *args, **kwargs)

    monkeypatch.setattr(sampling, "train_stack", watched)
    resumed = grown(tmp_path / "stopped", net, digits)
    assert seen == list(range(2 * stacks, 5))  # stacks of two, none a second time
    monkeypatch.setattr(sampling, "train_stack", train_stack)
    straight = grown(tmp_path / "straight", net, digits)
    assert difference(resumed, straight) == 0
    for table in ("runs", "history"):
        assert getattr(resumed, table).equals(getattr(straight, table))


#: A process that is killed while it trains its second stack.
KILLED = """
import os, signal, sys
sys.path.insert(0, "tests")
import test_sampling as t
images = t.data.subset(t.data.load("digits", size=14), train=300, test=100)
t.sampling.train_stack = t.stopping(1, lambda: os.kill(os.getpid(), signal.SIGKILL))
t.grown(sys.argv[1], "A2", images)
"""


@pytest.mark.hard(
    "kill -9 while a zoo is grown",
    "it goes on, or begins anew; no half file is taken for a whole one",
)
@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX systems do")
def test_killed_process_loses_only_its_stack(digits, tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "killed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (folder,) = (tmp_path / "killed").iterdir()
    with pytest.raises(ValueError, match=r"half-written \(2 runs so far\)"):
        Zoo.open(folder)
    left = Zoo.open(folder, allow_partial=True).weights()
    resumed = grown(tmp_path / "killed", "A2", digits)
    assert resumed.path == folder
    assert verify(folder) == []
    np.testing.assert_array_equal(left, resumed.weights()[:2])
    straight = grown(tmp_path / "straight", "A2", digits)
    assert difference(resumed, straight) == 0


def test_damaged_zoo_is_not_trained_over(digits, tmp_path, monkeypatch):
    zoo = grown(tmp_path, "A1", digits)
    (zoo.path / "runs.parquet").write_bytes(b"")
    monkeypatch.setattr(sampling, "train_stack", never)
    with pytest.raises(ValueError, match="is damaged: runs.parquet is truncated"):
        grown(tmp_path, "A1", digits)


@pytest.mark.hard(
    "two write one zoo",
    "the second is told to wait",
)
def test_zoo_in_work_is_left_alone(digits, tmp_path, monkeypatch):
    path = grown(tmp_path, "A1", digits).path
    header = Zoo.open(path)
    for file in path.rglob("*.*"):
        if file.is_file():
            file.unlink()
    monkeypatch.setattr(sampling, "train_stack", never)
    other = ZooWriter.create(
        path, header.layout, spec=header.spec, snapshots=header.snapshots
    )
    with other, pytest.raises(ValueError, match="another writer is working on zoo"):
        grown(tmp_path, "A1", digits)


# --- one folder for all that determines the weights -------------------------


def test_whatever_changes_the_zoo_changes_its_folder(digits, tmp_path):
    first, *others = RECIPES["A1"]
    brighter = digits.train_images.clone()
    brighter[0, 0, 0, 0] += 1
    zoos = [
        grown(tmp_path, "A1", digits),
        grown(tmp_path, "A2", digits, RECIPES["A1"]),
        grown(tmp_path, "A1", digits, [first]),
        grown(tmp_path, "A1", digits, [replace(first, lr=0.01), *others]),
        grown(tmp_path, "A1", digits, [*others, first]),
        *(
            grown(tmp_path, "A1", digits, schedule=replace(SCHEDULE, **change))
            for change in (
                {"epochs": 3, "snapshots": None},
                {"batch_size": 10},
                {"snapshots": (0, 2)},
                {"loss": "cross-entropy"},
                {"standardise": False},
            )
        ),
        *(
            grown(tmp_path, "A1", replace(digits, **change))
            for change in (
                {"train_images": brighter},
                {"train_labels": digits.train_labels.flip(0)},
                {"test_images": digits.test_images.flip(0)},
                {"test_labels": digits.test_labels.flip(0)},
            )
        ),
    ]
    assert len({zoo.path for zoo in zoos}) == len(zoos)


def test_training_code_is_part_of_a_zoos_name(digits, tmp_path, monkeypatch):
    used = "import sys, nwslib.train, nwslib.kernels; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", used],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    library = tmp_path / "nwslib"
    shutil.copytree(ROOT / "nwslib", library)
    sources = [_source(library, name) for name in loaded if "nwslib." in name]
    assert {"data.py", "train.py", "a1.py", "a2.py"} <= {path.name for path in sources}
    monkeypatch.setattr(sampling, "__file__", str(library / "sampling.py"))
    paths = {grown(tmp_path / "zoos", "A1", digits).path}
    for source in sources:
        with source.open("a") as file:
            file.write("# edited\n")
        paths.add(grown(tmp_path / "zoos", "A1", digits).path)
    assert len(paths) == 1 + len(sources)


def _source(library, module):
    """File of a module of the library, a package's being its __init__.py."""
    path = library.parent / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


# --- refused before anything is written -------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipes": []}, "no recipes: give at least one model"),
        ({"stack_size": 0}, "stack_size is 0: give at least 1"),
        ({"stack_size": -3}, "stack_size is -3: give at least 1"),
        (
            {"images": data.load("digits")},
            r"A1 takes images of shape \[1, 14, 14\], 'digits' has \[1, 8, 8\]: load",
        ),
        (
            {"schedule": Schedule(epochs=1, batch_size=301)},
            "batch_size 301 is larger than the 300 training images of 'digits': lower",
        ),
    ],
)
def test_bad_requests_leave_no_trace(change, message, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "train_stack", never)
    arguments = {"net": "A1", "images": digits} | change
    with pytest.raises(ValueError, match=message):
        grown(tmp_path / "zoos", **arguments)
    assert not (tmp_path / "zoos").exists()


def test_too_many_classes_leave_no_trace(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "train_stack", never)
    images = replace(digits, train_labels=digits.train_labels + 1)
    with pytest.raises(ValueError, match="A2 has 10 outputs, 'digits' has 11 classes"):
        grown(tmp_path / "zoos", "A2", images)
    assert not (tmp_path / "zoos").exists()
