"""The bench in small: every task runs, contenders do the same work, files merge."""

import json
import math
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import deep
import features
import gpu
import measuring
import nws
import pipeline
import run
import slices
import training
from measuring import Growth, Row
from nwslib import plots
from nwslib.features import of_zoo
from nwslib.meta import dmc
from nwslib.nets import get_net
from nwslib.recipe import Recipe, Schedule
from nwslib.train import build_stack

HERE = {"cpu": "one", "commit": "abc", "date": "2026-01-01"}


def row(name="train-A1", ours=1.0, **peers):
    rounds = {"ours": [ours]} | {peer: [time] for peer, time in peers.items()}
    return Row.of(name, "us", rounds, limit=0.1)


@pytest.fixture
def in_small(monkeypatch):
    """Leave out what takes long at any size: compilers and processes."""
    monkeypatch.setattr(training, "_GENERAL", "eager")
    monkeypatch.setattr(training, "process_per_core", training.plain_loop)
    monkeypatch.setattr(nws, "process_per_core", nws.one_process)
    monkeypatch.setattr(
        deep,
        "process_per_core",
        lambda work, autocast=False: deep.one_process(work, autocast=autocast),
    )
    monkeypatch.setattr(slices, "_WORKERS", 0)


# --- numbers ----------------------------------------------------------------


def test_a_row_holds_medians_and_their_spread():
    made = Row.of("a", "s", {"ours": [3.0, 1.0, 2.0], "peer": [8.0, 4.0]}, limit=None)
    assert made.ours == 2.0
    assert made.peers == {"peer": 6.0}
    assert made.spread("ours") == 1.0
    assert made.rounds["ours"] == [3.0, 1.0, 2.0]


def test_contenders_take_turns(capsys):
    calls = []

    def contender(name):
        return lambda: calls.append(name) or float(len(calls))

    times = measuring.take_turns({"a": contender("a"), "b": contender("b")}, 3)
    assert calls == ["a", "b"] * 3
    assert times == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}
    assert capsys.readouterr().out.count("round") == 3


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(power):
    pairs = [(n, 3e-6 * n**power) for n in (25, 250, 2500)]
    assert measuring.exponent(pairs) == pytest.approx(power)
    assert measuring.exponent(pairs[:1]) is None


def test_growth_keeps_contenders_that_stop_early():
    growth = Growth.of(
        "linkage",
        "s",
        "points",
        {10: {"ours": [1.0, 3.0, 2.0], "peer": [5.0]}, 100: {"ours": [200.0]}},
    )
    assert growth.times == {"ours": [(10, 2.0), (100, 200.0)], "peer": [(10, 5.0)]}
    assert growth.exponents == {"ours": pytest.approx(2.0), "peer": None}
    assert "grows as points^2.00" in run.growth_table([growth])


# --- every task -------------------------------------------------------------


def check(result):
    times = [result.ours, *result.peers.values()] if isinstance(result, Row) else [
        time for pairs in result.times.values() for _, time in pairs
    ]  # fmt: skip
    assert times
    assert all(math.isfinite(time) and time > 0 for time in times)


@pytest.mark.slow
@pytest.mark.parametrize("name", run.TASKS)
def test_every_task_runs(name, in_small, tmp_path, capsys):
    path = tmp_path / "bench.json"
    run.measure({name: run.TASKS[name]}, path, HERE, share=0.002)
    written = json.loads(path.read_text())
    part = "growth" if name.startswith("growth") else "rows"
    (entry,) = written[part]
    assert entry["name"] == name.removeprefix("growth-")
    check((Growth if part == "growth" else Row)(
        **{key: value
            for key, value in entry.items()
            if key not in ("targets", "measured")}
    ))  # fmt: skip
    asked = {
        "train-A1", "train-A2", "import-nwslib", "linkage-12500x2160", "lineage",
        "monitor-mlp", "monitor-resnet18", "nws", "nws-augmented", "features",
        "dmc-step", "dmc-step-narrow", *(f"slices-{size}" for size in slices.SIZES),
    }  # fmt: skip
    assert bool(entry.get("targets")) == (name in asked)
    assert entry["name"] in capsys.readouterr().out


@pytest.mark.parametrize("task", [gpu.epoch_row, gpu.zoo_row])
def test_gpu_tasks_run_on_the_cpu_too(task, monkeypatch, tmp_path):
    monkeypatch.setenv("NWSLIB_DATA", str(tmp_path))  # no MNIST there: noise
    result = task("A2", 0.002, device="cpu")
    check(result)
    assert result.facts["images"] == "120 of noise"


@pytest.mark.parametrize("augmented", [False, True])
def test_stacks_of_sampled_nets_run_on_the_cpu_too(augmented):
    result = nws.gpu_row(augmented, 0.002, device="cpu")
    check(result)
    assert result.facts["models"] == 2
    assert run.targets(result)[0]["target"] == 20


def test_deep_meta_classifiers_steps_run_on_the_cpu_too():
    result = deep.gpu_row(0.002, device="cpu")
    check(result)
    assert run.targets(result) == []


@pytest.mark.slow
def test_processes_share_the_cores():
    assert training.process_per_core(training.SETUPS["A1"], 2) > 0
    assert nws.process_per_core(nws.Work(False, 80, 2)) > 0
    assert deep.process_per_core(deep.Work(1 / 64, 2, 1)) > 0


# --- the sampled nets' plain loop ---------------------------------------------


def test_the_plain_loop_trains_the_same_net_on_as_many_images():
    net = nws.sequential()
    layout = nws.FIXED.layout
    learned = sum(p.size for p in layout if p.kind not in ("mean", "var"))
    assert sum(p.numel() for p in net.parameters()) == learned
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 20)
    work = nws.Work.of(True, 1)
    assert (work.train, work.test) == (2000, 500)
    assert work.trained == 2 * 28 * 64  # whole batches of 1,800
    trained = nws.train(
        work.given, nws.Work(True, 160, 2).images(), nws._budget(), seed=0, run=0
    )
    assert 64 * trained.steps == nws.Work(True, 160, 2).trained


def test_the_limit_counts_all_products_of_a_step():
    forward = [1024 * 8 * 75, 256 * 16 * 200, 64 * 32 * 400]
    forward += [512 * 128, 128 * 64, 64 * 20]
    assert nws.flops() == 6 * sum(forward) - 2 * forward[0]


def test_the_plain_loops_transforms_change_images():
    images = nws.Work(True, 80, 2).images()
    changed = nws._Transformed(images.train_images, images.train_labels)
    (x, y), (again, _) = changed[0], changed[0]
    assert x.shape == (3, 32, 32) and x.dtype == torch.float32
    assert y == images.train_labels[0] and len(changed) == 80
    assert not torch.equal(x, again)


# --- the features' plain loop -------------------------------------------------


def test_the_plain_loop_takes_the_same_features(tmp_path):
    zoo = features.random_zoo(tmp_path / "zoo", 2, 2)
    theirs, ours = features.plain_loop(zoo), of_zoo(zoo).values
    assert theirs.shape == (4, 480)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


# --- deep meta-classifiers' peers ------------------------------------------------


@pytest.mark.parametrize("nets", [1, 3])
def test_the_peers_are_the_same_nets(nets):
    spec = deep.Work(1 / 16, 2, 1).spec
    ours = [dmc.build(spec, seed).eval() for seed in range(nets)]
    theirs = deep.sequential(spec, nets).eval()
    kinds = (torch.nn.Conv1d, torch.nn.Linear, torch.nn.BatchNorm1d, deep._Linears)
    layers = [
        [module for module in net.modules() if isinstance(module, kinds)]
        for net in (theirs, *ours)
    ]
    with torch.no_grad():
        for own, *given in zip(*layers, strict=True):
            weights = [module.weight for module in given]
            if isinstance(own, deep._Linears):
                weights = [weight.T for weight in weights]
            own.weight.copy_(torch.cat(weights).view(own.weight.shape))
            biases = torch.cat([module.bias for module in given])
            own.bias.copy_(biases.view(own.bias.shape))
    x = torch.randn(2, nets, spec.length)
    expected = torch.cat([net(x[:, k]) for k, net in enumerate(ours)], 1)
    torch.testing.assert_close(theirs(x), expected, atol=1e-5, rtol=1e-4)


def test_the_limit_of_a_step_counts_every_layer():
    work = deep.Work(1.0, 2, 1)
    first = 2 * 8 * 5 * 5000
    rest = sum(
        2 * la.inputs * la.outputs * (5 * la.length if la.is_conv else 1)
        for la in work.spec.layers[1:]
    )
    assert work.flops == 2 * (2 * first + 3 * rest)


def test_the_plain_data_set_gives_slices_and_their_labels():
    store = slices.random_store(2)
    labels = torch.arange(len(store))
    values, rows = slices.one_by_one(store, np.random.default_rng(0), 50)
    nets = store.flat.view(len(store), -1).numpy()
    pairs = [*zip(values, rows, strict=True)]
    data = slices._Slices(store, labels, 50, 9)
    assert len(data) == 9
    pairs += [
        (value.numpy(), int(label)) for value, label in map(data.__getitem__, range(9))
    ]
    for value, row in pairs:
        (start,) = np.flatnonzero(nets[row] == value[0])[:1]
        np.testing.assert_array_equal(nets[row, start : start + 50], value)


# --- the peer jax-vmap --------------------------------------------------------


@pytest.mark.parametrize("net", ["A1", "A2"])
def test_jax_takes_the_same_steps(net):
    pytest.importorskip("jax")
    from jax_training import JaxStack

    models, batch, steps = 3, 4, 12
    images = training.noise(40)
    recipe = Recipe(lr=0.05, weight_decay=0.01)
    recipes = [Recipe(seed=s, lr=0.05, weight_decay=0.01) for s in range(models)]
    ours = build_stack(get_net(net), recipes, images, Schedule(1, batch))
    initial = ours.weights.clone()
    theirs = JaxStack(
        net, initial.numpy(), recipe, *training.input_scale(images), batch
    )
    np.testing.assert_array_equal(theirs.weights, initial)
    order = torch.randint(40, (models, steps * batch), dtype=torch.int32)
    ours.train(images.train_images, images.train_labels, order, 0)
    pixels = images.train_images.flatten(1).numpy()
    theirs.train(*theirs.place(pixels, images.train_labels.numpy(), order.numpy()))
    assert (ours.weights - initial).abs().max() > 0.01
    np.testing.assert_allclose(theirs.weights, ours.weights, atol=1e-5, rtol=0)


# --- targets and files --------------------------------------------------------


def test_targets_say_what_was_reached():
    first, second = run.targets(row(**{"plain-loop": 150.0, "jax-vmap": 0.9}))
    assert first == {
        "what": "times as fast as plain-loop",
        "target": 150,
        "reached": 150.0,
        "met": True,
    }
    assert not second["met"]
    assert "MISSED" in run.row_table([row(**{"plain-loop": 149.0})])
    assert run.targets(row()) == []  # no peer, no verdict


def test_the_best_peer_and_memory_are_judged():
    made = Row.of(
        "linkage-12500x2160", "s", {"ours": [2.0], "a": [60.0], "b": [39.0]},
        limit=1.0, memory_mb=1001.0,
    )  # fmt: skip
    speed, memory = run.targets(made)
    assert speed["what"] == "times as fast as b"
    assert not speed["met"]
    assert memory["reached"] == 1001.0
    assert not memory["met"]


def read(path):
    return {
        entry["name"]: entry["ours"] for entry in json.loads(path.read_text())["rows"]
    }


def test_entries_of_the_same_hardware_are_kept_and_say_whence(tmp_path):
    path = tmp_path / "bench.json"
    later = HERE | {"date": "2026-01-02", "commit": "def"}
    run.keep(path, HERE, 1.0, row("train-A2", 2.0))
    run.keep(path, HERE, 1.0, row("train-A1", 1.0))
    run.keep(path, later, 1.0, row("train-A2", 3.0))
    assert read(path) == {"train-A1": 1.0, "train-A2": 3.0}
    assert list(read(path)) == ["train-A1", "train-A2"]  # in the bench's order
    written = json.loads(path.read_text())
    assert written["machine"] == {"cpu": "one"}
    first, second = (entry["measured"] for entry in written["rows"])
    assert first == {"commit": "abc", "date": "2026-01-01"}
    assert second == {"commit": "def", "date": "2026-01-02"}


@pytest.mark.parametrize(("where", "share"), [({"cpu": "two"}, 1.0), ({}, 0.5)])
def test_rows_from_elsewhere_are_not_mixed(where, share, tmp_path):
    path = tmp_path / "bench.json"
    run.keep(path, HERE, 1.0, row("train-A2"))
    run.keep(path, HERE | where, share, row("train-A1"))
    assert list(read(path)) == ["train-A1"]


def test_the_machine_is_described():
    here = measuring.machine()
    assert {"cpu", "cores", "threads", "memory_gb", "system", "commit"} <= set(here)
    assert here["versions"]["torch"] == torch.__version__


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said(monkeypatch, tmp_path, capsys):
    arguments = ["run.py", "--only", "train-A1-gpu", "--folder", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    run.main()
    assert "GPU: not measured, there is none here" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


# --- the chapter --------------------------------------------------------------


def read_by_the_chapter(folder, monkeypatch):
    """What the chapter's cells on recorded results define, run in a folder."""
    chapter = Path(__file__).parent.parent / "book" / "90_how_fast.py"
    cells = [cell.source for cell in pipeline.code_cells(pipeline.notebook_of(chapter))]
    (first,) = (k for k, cell in enumerate(cells) if "def recorded_bench" in cell)
    (last,) = (k for k, cell in enumerate(cells) if "gpu = recorded" in cell)
    monkeypatch.chdir(folder)
    names = {
        "json": json, "textwrap": textwrap, "Path": Path, "pd": pd, "plots": plots
    }  # fmt: skip
    exec("\n".join(cells[first : last + 1]), names)
    return names


def recorded(folder, *results):
    for result in results:
        run.keep(folder / "results" / "bench-cpu.json", measuring.machine(), 1, result)


def test_the_chapter_says_so_when_nothing_is_recorded(tmp_path, monkeypatch, capsys):
    read_by_the_chapter(tmp_path, monkeypatch)
    assert "not measured" in capsys.readouterr().out


@pytest.mark.parametrize(
    "missing", [None, "train-A1", "train-A2", "linkage-12500x2160"]
)
def test_the_chapter_reads_what_the_bench_writes(missing, tmp_path, monkeypatch):
    names = ["train-A1", "train-A2", "linkage-12500x2160"]
    growth = Growth.of("linkage", "s", "points", {10: {"ours": [1.0]}})
    rows = [row(name, 2.0, peer=6.0) for name in names if name != missing]
    recorded(tmp_path, *rows, growth)
    table = read_by_the_chapter(tmp_path, monkeypatch)["table"](rows=[vars(rows[0])])
    assert table.loc[(rows[0].name, "peer"), "ours = 1"] == "3"


def test_the_chapter_multiplies_steps_out(tmp_path, monkeypatch):
    recorded(tmp_path, row("train-A1", 1.0, peer=100.0))
    hours = read_by_the_chapter(tmp_path, monkeypatch)["hours"]
    steps = 250 * 50 * 15_000  # batches of 4
    assert hours["train-A1"] == pytest.approx(
        {"ours": steps / 3.6e9, "peer": steps / 3.6e7}
    )
