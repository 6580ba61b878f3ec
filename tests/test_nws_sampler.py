"""Sampling to disk: the same zoo however it is interrupted, extended or spread."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from nwslib import profiles
from nwslib.__main__ import main
from nwslib.nws import Budget, Plan, Source, executors, sample, sampler
from nwslib.nws.executors import here
from nwslib.nws.sampler import train_shard
from nwslib.nws.stack import stackable
from nwslib.nws.training import train
from nwslib.zoo import Zoo, ZooWriter, verify

PLAN = Plan(
    (Source("digits", train=60, test=20), Source("more", "digits", 50, 10)),
    Budget(max_epochs=2, snapshots=3),
    fixed_architecture=False,
    seed=5,
    shard_size=2,
)


def backwards(function, shared, tasks):
    """An executor whose tasks get ready last first."""
    return here(function, shared, tasks[::-1])


def grown(path, runs, plan=PLAN, executor=here):
    return sample(path, plan, runs, executor=executor, progress=False)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Eight runs, never interrupted."""
    return grown(tmp_path_factory.mktemp("sampled") / "zoo", 8)


def assert_equal(one: Zoo, other: Zoo) -> None:
    """Bit for bit, but for the seconds that nets took."""
    shards = [sorted((zoo.path / "weights").iterdir()) for zoo in (one, other)]
    assert [file.name for file in shards[0]] == [file.name for file in shards[1]]
    for first, second in zip(*shards, strict=True):
        assert first.read_bytes() == second.read_bytes()
    runs = [zoo.runs.drop(columns="seconds") for zoo in (one, other)]
    pd.testing.assert_frame_equal(*runs, check_exact=True)
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)
    assert verify(one.path) == verify(other.path) == []


# what is in the zoo


def test_each_run_is_its_own_training(zoo):
    images = {source.name: source.load() for source in PLAN.sources}
    for shard in (0, 3):
        for run, trained in zip(
            (2 * shard, 2 * shard + 1),
            train_shard(PLAN, images, "cpu", shard),
            strict=True,
        ):
            np.testing.assert_array_equal(zoo.weights([run])[0], trained.weights)
            row = zoo.runs.set_index("run").loc[run]
            given = PLAN.run(run)
            assert row[list(given.row())].to_dict() == given.row()
            assert row["layout"] == given.architecture.name
            assert row["n_weights"] == trained.weights.shape[1]
            assert row["kept_epochs"] == " ".join(map(str, trained.kept_epochs))
            assert (row["epochs"], row["steps"]) == (trained.epochs, trained.steps)
            assert row["stopped"] == trained.stopped == "limit"
            assert row["seconds"] > 0
            past = zoo.history[zoo.history["run"] == run]
            for split in ("train", "valid", "test"):
                of_split = past[past["split"] == split].sort_values("epoch")
                assert of_split["epoch"].tolist() == [0, 1, 2]
                for measure in ("accuracy", "loss"):
                    values = getattr(trained, measure)[split]
                    assert of_split[measure].tolist() == values.tolist()
                    assert row[f"{split}_{measure}"] == values[-1]


def test_vectors_are_nets_of_their_layout(zoo):
    for run in zoo.runs["run"]:
        architecture = PLAN.run(run).architecture
        assert zoo.layouts[architecture.name] == architecture.layout


def test_fewer_runs_are_the_first_of_more(zoo, tmp_path):
    few = grown(tmp_path / "few", 4)
    for run in range(4):
        np.testing.assert_array_equal(few.weights([run]), zoo.weights([run]))


def test_a_finished_zoo_is_extended(zoo, tmp_path):
    assert len(grown(tmp_path / "zoo", 3)) == 4  # whole shards
    assert_equal(grown(tmp_path / "zoo", 8), zoo)


def test_a_finished_zoo_is_opened_without_training(zoo):
    def never(function, shared, tasks):
        assert not tasks
        yield from ()

    assert len(grown(zoo.path, 8, executor=never)) == 8


def test_the_order_of_arrival_does_not_matter(zoo, tmp_path):
    assert_equal(grown(tmp_path / "zoo", 8, executor=backwards), zoo)


def test_names_tell_plans_apart():
    plans = [
        PLAN,
        replace(PLAN, seed=6),
        replace(PLAN, fixed_architecture=True),
        replace(PLAN, budget=Budget(3, 3)),
        replace(PLAN, dtype="float16"),
        replace(PLAN, sources=PLAN.sources[:1]),
    ]
    assert len({plan.name for plan in plans}) == len(plans)
    assert PLAN.name.startswith("nws-main-")
    assert plans[2].name.startswith("nws-fixed-")


# interruptions

_KILLED = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_nws_sampler import PLAN, grown

rng, kills, stored = random.Random(0), 0, 0
while True:
    child = os.fork()
    if not child:
        grown(sys.argv[2], 8)
        os._exit(0)
    delay = rng.uniform(0, 0.6) if kills < 20 else 600
    end = time.monotonic() + delay
    done = (0, 0)
    while not done[0] and time.monotonic() < end:
        time.sleep(0.002)
        done = os.waitpid(child, os.WNOHANG)
    if done[0]:
        assert done[1] == 0
        if kills >= 20:
            break
        # finished before it was killed: begin anew, elsewhere
        sys.argv[2] += "+"
        continue
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kills += 1
print(kills, sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.hard(
    "kill -9 while nets are sampled, 20 times",
    "the zoo is the same, to the last bit",
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_it_ends_the_same(zoo, tmp_path):
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, here, str(tmp_path / "zoo")],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    kills, path = done.stdout.split()
    assert int(kills) >= 20
    assert_equal(Zoo.open(path), zoo)


def test_an_error_leaves_what_was_stored(zoo, tmp_path):
    def failing(function, shared, tasks):
        yield from here(function, shared, tasks[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grown(tmp_path / "zoo", 8, executor=failing)
    half = Zoo.open(tmp_path / "zoo", allow_partial=True)
    assert (half.complete, len(half)) == (False, 4)
    assert_equal(grown(tmp_path / "zoo", 8), zoo)


# many processes


@pytest.mark.slow
def test_processes_give_the_same_zoo(zoo, tmp_path):
    assert_equal(grown(tmp_path / "zoo", 8, executor=executors.local(2)), zoo)


def _die(task):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.hard(
    "a worker is killed, here or on a cluster",
    "the zoo is the same, or one sentence tells of it",
)
def test_a_killed_worker_is_named():
    with pytest.raises(OSError, match="a worker process was killed, perhaps for want"):
        list(executors.local(1)(_die, (), [0, 1]))


def _note_and_wait(folder, task):
    deaf = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    (folder / f"{os.getpid()}").write_text("deaf" if deaf else "hears")
    time.sleep(600)


_WAITING = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from nwslib.nws import executors
from test_nws_sampler import _note_and_wait

if __name__ == "__main__":
    list(executors.local(2)(_note_and_wait, (Path(sys.argv[2]),), [0, 1]))
"""


@pytest.mark.slow
@pytest.mark.hard(
    "the process that started workers is killed",
    "they end",
)
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script, notes = tmp_path / "waiting.py", tmp_path / "notes"
    script.write_text(_WAITING)
    notes.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parent), str(notes)]
    )
    _until(lambda: sum(file.stat().st_size > 0 for file in notes.iterdir()) == 2)
    # Ctrl-C in a terminal reaches all: the parent ends them, without their tracebacks.
    assert {file.read_text() for file in notes.iterdir()} == {"deaf"}
    workers = [psutil.Process(int(file.name)) for file in notes.iterdir()]
    parent.kill()
    parent.wait()
    _until(lambda: not any(worker.is_running() for worker in workers))


def _until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def _once_killed(marker, function, *given):
    """The first call anywhere kills its worker, all others do their work."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return function(*given)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.hard(
    "a worker is killed, here or on a cluster",
    "the zoo is the same, or one sentence tells of it",
)
def test_dask_gives_the_same_zoo_though_a_worker_dies(zoo, tmp_path):
    from distributed import LocalCluster

    def with_a_death(function, shared, tasks):
        killing = (str(tmp_path / "marker"), function, *shared)
        yield from executors.dask(cluster.scheduler_address)(
            _once_killed, killing, tasks
        )

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        found = grown(tmp_path / "zoo", 8, executor=with_a_death)
    assert (tmp_path / "marker").exists()
    assert_equal(found, zoo)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(executors, "_ANSWER", 0.2)
    with pytest.raises(OSError, match="no Dask scheduler answers at tcp://127.0.0.1:1"):
        list(executors.get("dask://127.0.0.1:1")(here, (), [0]))


def test_without_dask_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"install nwslib\[dask\], or sample"):
        executors.dask()


@pytest.mark.parametrize(
    ("name", "workers", "message"),
    [
        ("ssh", None, "unknown executor 'ssh': choose here, local, dask, or dask://"),
        ("dask://", None, "unknown executor 'dask://'"),
        ("local", 0, "0 workers: give at least 1"),
    ],
)
def test_unknown_executors(name, workers, message):
    with pytest.raises(ValueError, match=message):
        executors.get(name, workers)


# stacks, as on a GPU


def test_a_shard_is_trained_in_stacks_elsewhere_than_on_the_cpu(monkeypatch):
    """That stacks give the same nets is tested in test_nws_stack."""
    many = Source("digits", train=300, test=20)  # the other set has few
    plan = replace(
        PLAN, sources=(many, PLAN.sources[1]), fixed_architecture=True, shard_size=12
    )
    images = {source.name: source.load() for source in plan.sources}
    stacks = []

    def stacked(given, images, budget, *, seed, runs, device):
        assert device == "cuda" and len({stackable(each) for each in given}) == 1
        stacks.append(runs)
        return [
            train(each, images[each.dataset], budget, seed=seed, run=run)
            for each, run in zip(given, runs, strict=True)
        ]

    monkeypatch.setattr(sampler, "train_stack", stacked)
    found = train_shard(plan, images, "cuda", 0)
    given = {run: plan.run(run) for run in range(12)}
    assert {run for runs in stacks for run in runs} == {
        run
        for run, each in given.items()
        if each.dataset == "digits" or each.batch_size == 32
    }
    assert max(map(len, stacks)) > 1
    for one, other in zip(train_shard(plan, images, "cpu", 0), found, strict=True):
        assert torch.equal(one.weights, other.weights)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="cuda"):
        sample(tmp_path / "zoo", PLAN, 2, device="cuda", progress=False)
    assert list(tmp_path.iterdir()) == []


# what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 6}, r"started differently: spec\['seed'\] is 5 in the zoo and 6"),
        ({"budget": Budget(3, 3)}, r"spec\['max_epochs'\] is 2 in the zoo and 3"),
        ({"dtype": "float16"}, "dtype is 'float32' in the zoo and 'float16'"),
        (
            {"sources": (Source("digits", train=61, test=20),)},
            r"spec\['datasets'\] is .* in the zoo and ",
        ),
        ({"fixed_architecture": True}, "layout"),
    ],
)
def test_another_plan_is_refused_and_nothing_is_changed(zoo, changes, message):
    before = {f: f.read_bytes() for f in zoo.path.rglob("*") if f.is_file()}
    with pytest.raises(ValueError, match=message):
        grown(zoo.path, 10, replace(PLAN, **changes))
    assert before == {f: f.read_bytes() for f in zoo.path.rglob("*") if f.is_file()}


@pytest.mark.hard(
    "two write one zoo",
    "the second is told to wait",
)
def test_a_second_sampler_is_refused(zoo, tmp_path):
    grown(tmp_path / "zoo", 2)
    images = {source.name: source.load() for source in PLAN.sources}
    with ZooWriter.resume(
        tmp_path / "zoo",
        {each.name: each.layout for each in PLAN.architectures},
        spec=PLAN.spec(images),
        snapshots=range(3),
    ):
        with pytest.raises(ValueError, match="another writer is working on zoo"):
            grown(tmp_path / "zoo", 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grown("never", 0), "runs is 0: sample at least one"),
        (lambda: replace(PLAN, sources=()), r"the image sets are \[\]: give at least"),
        (
            lambda: replace(PLAN, sources=PLAN.sources[:1] * 2),
            r"the image sets are \['digits', 'digits'\]: .* each name once",
        ),
        (lambda: replace(PLAN, seed=-1), "seed is -1 and shard_size 2: give a seed"),
        (lambda: replace(PLAN, shard_size=0), "at least one run a shard"),
        (lambda: Budget(5, 20), "cannot keep 20 snapshots of 5 epochs"),
    ],
)
def test_unfit_requests(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    assert not Path("never").exists()


def test_missing_images_are_named_before_anything_is_written(tmp_path):
    plan = replace(PLAN, sources=(Source("svhn", "svhn_part.npz"),))
    with pytest.raises(FileNotFoundError, match=r"there is no file .*svhn_part.npz"):
        sample(tmp_path / "zoo", plan, 2, data_dir=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


# the command line


def test_plans_are_named_as_they_were_before_they_could_do_without_batch_norm():
    full = profiles.get_profile("full")
    names = {key: plan.name for key, (plan, _) in full.sampled_sets().items()}
    assert names["fixed"] == "nws-fixed-2bb9ee5f0135"
    assert names["main"] == "nws-main-a00abce48455"
    assert names["plain"] not in (names["fixed"], names["main"])


def test_a_plan_draws_from_known_initialisations():
    with pytest.raises(ValueError, match=r"inits are \('zeros',\): choose one"):
        replace(PLAN, inits=("zeros",))
    with pytest.raises(ValueError, match=r"inits are \(\): choose one"):
        replace(PLAN, inits=())


def test_command_line_without_batch_norm(tmp_path, monkeypatch):
    tiny = replace(profiles.PROFILES["quick"], sources=PLAN.sources, max_epochs=20)
    monkeypatch.setitem(profiles.PROFILES, "quick", tiny)
    path = tmp_path / "zoo"
    words = ["--plain", "--runs", "2", "--shard-size", "2", "--executor", "here"]
    assert main(["sample", str(path), *words]) == 0
    found = Zoo.open(path)
    assert found.spec["batch_norm"] is False
    assert set(found.layouts) == {"f5-c3x32-d3x128-plain"}
    assert set(found.runs["init"]) <= {"glorot_uniform", "glorot_normal"}


def test_command_line(tmp_path, monkeypatch, capsys):
    tiny = replace(profiles.PROFILES["quick"], sources=PLAN.sources, max_epochs=20)
    monkeypatch.setitem(profiles.PROFILES, "quick", replace(tiny, n_main_runs=2))
    path, words = tmp_path / "zoo", ["--main", "--float16", "--seed", "3"]
    assert main(["sample", str(path), *words, "--executor", "here"]) == 0
    assert capsys.readouterr().out == f"4 runs in {path}\n"
    found = Zoo.open(path)
    assert found.spec["seed"] == 7 and not found.spec["fixed_architecture"]
    assert (found.runs["epochs"] == 20).all()
    assert main(["sample", str(path), "--runs", "0"]) == 1
    assert capsys.readouterr().err == "nwslib: runs is 0: sample at least one.\n"
    assert main(["sample", str(path), "--profile", "tiny"]) == 1
    assert "unknown profile 'tiny'" in capsys.readouterr().err
