"""Many DMCs at once: what one training makes, in any process, resumed."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from test_meta_dmc import planted, same

from nwslib.meta import dmc_many, dmc_training
from nwslib.meta.dmc_classifier import Recipe
from nwslib.meta.dmc_many import Job, train_many
from nwslib.meta.dmc_training import train
from nwslib.meta.weight_store import WeightStore

BRIEF = Recipe(size=16, width=1 / 64, epochs=2, batch=16)


@pytest.fixture(scope="module")
def data():
    return planted(classes=("a", "b", "c"))


@pytest.fixture
def mapped(data, tmp_path):
    """The store in a file."""
    file = tmp_path / "flat.bin"
    data[0].flat.numpy().tofile(file)
    flat = torch.from_numpy(np.memmap(file, dtype=np.float32, mode="c"))
    return WeightStore(flat, data[0].index, file=file)


def jobs_of(examples):
    """Two classes in one job, three in the other."""
    return [
        Job("two of c", examples.where(examples.labels != "c"), BRIEF, 1),
        Job("all", examples, dataclasses.replace(BRIEF, size=20), 2),
    ]


def test_processes_give_what_one_training_gives(data, mapped, tmp_path, capsys):
    jobs = jobs_of(data[1])
    results = dict(
        train_many(mapped, jobs, workers=2, checkpoints=tmp_path / "new" / "folder")
    )
    assert set(results) == {"two of c", "all"}
    for job in jobs:
        alone = train(data[0], job.examples, job.recipe, job.seed)
        assert same(alone, results[job.name])
        assert alone.classes_.tolist() == results[job.name].classes_.tolist()
    files = {file.name for file in (tmp_path / "new" / "folder").iterdir()}
    assert files == {"two of c.pt", "all.pt"}
    assert capsys.readouterr().err == ""


def test_a_mapped_store_travels_without_its_weights(data, mapped):
    sent = pickle.dumps(mapped)
    assert len(sent) < data[0].flat.numpy().nbytes / 2
    got = pickle.loads(sent)
    assert torch.equal(got.flat, mapped.flat)
    assert got.file == mapped.file
    got.check([0], 16)
    in_memory = pickle.loads(pickle.dumps(data[0]))
    assert torch.equal(in_memory.flat, data[0].flat)


def test_jobs_that_ended_are_read(data, tmp_path, monkeypatch, capsys, eager_log):
    jobs = jobs_of(data[1])
    first = dict(train_many(data[0], jobs[:1], workers=1, checkpoints=tmp_path))
    learned, learn = [], dmc_training._Run.learn
    monkeypatch.setattr(
        dmc_training._Run, "learn", lambda run: (learned.append(run.seed), learn(run))
    )
    again = dict(
        train_many(data[0], jobs, workers=1, checkpoints=tmp_path, progress=True)
    )
    assert learned == [2, 2]
    assert same(first["two of c"], again["two of c"])
    assert "2 of 2 nets" in capsys.readouterr().err


def test_results_come_before_all_are_trained(data, monkeypatch):
    begun = []
    monkeypatch.setattr(dmc_many, "train", lambda *a, **_: begun.append(a[3]))
    results = train_many(data[0], jobs_of(data[1]), workers=1)
    assert next(results)[0] == "two of c"
    assert begun == [1]


def test_a_class_of_one_net_is_no_obstacle(data):
    store, examples = data
    rows = (examples.labels != "c") | (examples.runs == 2)
    ((name, classifier),) = train_many(
        store, [Job("few", examples.where(rows), BRIEF)], workers=1
    )
    assert name == "few" and len(classifier.classes_) == 3


def test_errors_name_the_job(data, monkeypatch):
    store, examples = data

    def fails(message, *jobs, **options):
        with pytest.raises(ValueError, match=message):
            list(train_many(store, jobs, **options))

    good = Job("good", examples, BRIEF)
    fails("2 jobs are called 'good': give each its own", good, good)
    for name in ("", "a/b", ".."):
        fails(f"'{name}' is not a file's name", Job(name, examples, BRIEF))
    fails("0 workers: give at least 1", good, workers=0)
    fails("job 'good': save_every is 0", good, save_every=0)
    one = Job("one", examples.where(examples.labels == "a"), BRIEF)
    monkeypatch.setattr(dmc_many, "train", None)  # nothing has begun
    fails("job 'one': n_classes is 1", good, one, workers=1)
    long = Job("long", examples, dataclasses.replace(BRIEF, size=201))
    fails("job 'long': part 'all' of run 0 has 200 weights", good, long)


def test_a_training_that_fails_is_named(data):
    store, examples = data
    spoiled = WeightStore(torch.full_like(store.flat, torch.nan), store.index)
    with pytest.raises(ValueError, match="job 'bad': the loss of epoch 1 is not"):
        list(train_many(spoiled, [Job("bad", examples, BRIEF)], workers=1))
