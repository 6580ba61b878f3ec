"""Whole folders: what is written, what is found, what is refused."""

import json
import os
import random
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from test_lineage import SIZE, net, per_tensor, walk

from nwslib import lineage as package
from nwslib.flatten import Layout
from nwslib.lineage import recover, survey, write_lineage
from nwslib.lineage.example import write_example
from nwslib.plots import lineage_pictures

LAYOUT = Layout.of(net(torch.zeros(SIZE)))
OTHER = Layout.of({"only.weight": torch.zeros(40, 50)})


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A folder with two architectures, a branch, copies, an outlier, hostile files."""
    folder = tmp_path_factory.mktemp("example")
    rng = np.random.default_rng(0)
    trunk = walk(rng, 9, slowing=0.95)
    runs = {
        "trunk": (LAYOUT, trunk),
        "second": (LAYOUT, walk(rng, 6)),
        "small": (OTHER, walk(rng, 5)),
        "branch": (LAYOUT, walk(rng, 4, trunk[3], first=0.4)),
        "stranger": (LAYOUT, walk(rng, 1)),
    }
    runs = {k: (layout, w.astype(np.float32)) for k, (layout, w) in runs.items()}
    truth = write_example(folder, runs, {"branch": ("trunk", 3)}, seed=1)
    return folder, truth


@pytest.fixture(scope="module")
def found(example):
    return recover(example[0])


def descent(lineage):
    """Links without what the names decide, and runs as sets."""
    return {link.child: link.parent for link in lineage.links}


def saved(folder, name, state):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)


# --- the example -----------------------------------------------------------


def test_everything_planted_is_found(example, found):
    truth = {planted.path: planted for planted in example[1]}
    table = found.table().set_index("path")
    twin = next(p for p in truth.values() if p.kind == "duplicate")
    for path, planted in truth.items():
        if path in (twin.path, twin.parent):
            continue  # which of them is the copy, nobody can know
        assert table.loc[path, "kind"] == planted.kind, planted
        if planted.parent and planted.parent not in (twin.path, twin.parent):
            assert table.loc[path, "parent"] == planted.parent
    assert sorted(table.loc[[twin.path, twin.parent], "kind"]) == ["duplicate", "step"]
    runs = pd.Series({path: planted.run for path, planted in truth.items()})
    assert table["run"].groupby(runs).nunique().eq(1).all()
    assert table["run"].nunique() == runs.nunique() == 5
    assert table.index.is_unique
    assert set(table.index) == set(truth)


def test_runs_are_in_order(example, found):
    places = {planted.path: planted.place for planted in example[1]}
    for run in found.runs:
        order = [places[path] for path in run.checkpoints]
        assert order == sorted(order)


def test_copies_stand_behind_their_original(found):
    at = {path: k for run in found.runs for k, path in enumerate(run.checkpoints)}
    copies = [link for link in found.links if "copy" in link.kind]
    assert len(copies) == 2
    for link in copies:
        assert at[link.child] == at[link.parent] + 1
        assert link.confidence == 1


def test_hostile_files_are_rejected_with_reasons(found, capsys):
    reasons = {each.path: each.reason for each in found.rejected}
    assert set(reasons) == {"best.pt", "final.pt"}
    assert "print" in reasons["best.pt"]
    assert capsys.readouterr().out == ""  # nothing was run


def test_the_example_does_run_code_when_it_is_loaded_carelessly(example, capsys):
    torch.load(example[0] / "best.pt", weights_only=False)
    assert "run code" in capsys.readouterr().out


def test_what_was_found_as_json(found):
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(content) == ["format", "architectures", "runs", "links", "rejected"]
    assert content["format"] == 1
    paths = [path for run in content["runs"] for path in run["checkpoints"]]
    assert len(paths) == len(set(paths))
    architectures = {each["id"] for each in content["architectures"]}
    for run in content["runs"]:
        assert set(run) == {"id", "architecture", "checkpoints", "outlier"}
        assert run["architecture"] in architectures
    for link in content["links"]:
        assert set(link) == {"parent", "child", "distance", "confidence", "kind"}
        assert {link["parent"], link["child"]} <= set(paths)
        assert link["distance"] >= 0
        assert 0 <= link["confidence"] <= 1
    children = [link["child"] for link in content["links"]]
    assert len(children) == len(set(children))
    assert all(set(each) == {"path", "reason"} for each in content["rejected"])


def test_distances_are_those_of_the_weights(found, example):
    folder, _ = example
    for link in found.links:
        if link.kind in ("step", "branch"):
            one, other = (
                np.concatenate([t.float().flatten() for t in state.values()])
                for state in map(lambda p: survey.checkpoints.read(folder, p),
                                 (link.parent, link.child))
            )  # fmt: skip
            assert link.distance == pytest.approx(np.linalg.norm(one - other), rel=1e-4)


# --- evidence --------------------------------------------------------------


def test_names_places_and_dates_are_no_evidence(example, found, tmp_path):
    """Renamed and moved at random, files give the same lineage of their contents."""
    folder, truth = example
    rng = random.Random(3)
    new_name = {}
    for planted in truth:
        if planted.path.endswith(".index.json"):
            old, new = Path(planted.path).parent, f"{rng.randbytes(3).hex()}"
            shutil.copytree(folder / old, tmp_path / new)
            new_name[planted.path] = f"{new}/{Path(planted.path).name}"
            continue
        new = f"{rng.choice('ab')}/{rng.randbytes(3).hex()}{Path(planted.path).suffix}"
        (tmp_path / new).parent.mkdir(exist_ok=True)
        shutil.copy(folder / planted.path, tmp_path / new)
        os.utime(tmp_path / new, (rng.randrange(10**9), rng.randrange(10**9)))
        new_name[planted.path] = new
    again = recover(tmp_path)
    twins = {
        p: min(q.path, q.parent)
        for q in truth
        if q.kind == "duplicate"
        for p in (q.path, q.parent)
    }
    old_name = {new: old for old, new in new_name.items()}

    def by_content(lineage, name=lambda path: path):
        def called(path):
            return twins.get(name(path), name(path))

        return (
            [[called(path) for path in run.checkpoints] for run in lineage.runs],
            [
                (called(k.parent), called(k.child), k.distance, k.confidence, k.kind)
                for k in lineage.links
            ],
        )

    assert by_content(again, old_name.get) == by_content(found)


def test_counters_are_no_evidence(tmp_path):
    rng = np.random.default_rng(0)
    for k, point in enumerate(walk(rng, 6)):
        state = net(point) | {"bn.num_batches_tracked": torch.tensor(100 - k)}
        saved(tmp_path, f"{k}.pt", {"model": state, "epoch": 100 - k})
    (run,) = recover(tmp_path).runs
    assert run.checkpoints == tuple(f"{k}.pt" for k in range(6))


def test_what_all_have_in_common_relates_none(tmp_path):
    """A fixed table of positions, large and equal in all nets."""
    rng = np.random.default_rng(0)
    table = {"positions": 10 * torch.randn(50, 50)}
    for run in range(3):
        for k, point in enumerate(walk(rng, 4)):
            saved(tmp_path, f"{run}-{k}.pt", net(point) | table)
    assert len(recover(tmp_path).runs) == 3


def test_a_frozen_body_leaves_the_head_to_tell(tmp_path):
    rng = np.random.default_rng(0)
    body = {"body.weight": torch.randn(60, 60)}
    for k, point in enumerate(walk(rng, 5)):
        saved(tmp_path, f"{k}.pt", net(point) | body)
    (run,) = recover(tmp_path).runs
    assert run.checkpoints == tuple(f"{k}.pt" for k in range(5))


def test_nets_that_differ_in_running_statistics_only_are_one_family(tmp_path):
    for k in range(3):
        saved(tmp_path, f"{k}.pt", net(torch.ones(SIZE).cumsum(0)) | {
            "bn.running_mean": torch.full((3,), float(k))
        })  # fmt: skip
    lineage = recover(tmp_path)
    assert len(lineage.runs) == 1
    assert [link.distance for link in lineage.links] == [0, 0]
    assert {link.kind for link in lineage.links} == {"step"}


# --- kinds of folders ------------------------------------------------------


def test_unrelated_nets_alone_are_no_outliers(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(3):
        saved(tmp_path, f"{k}.pt", net(walk(rng, 1)[0]))
    lineage = recover(tmp_path)
    assert [run.outlier for run in lineage.runs] == [False] * 3
    assert set(lineage.table()["kind"]) == {"root"}
    assert lineage.links == ()


def test_one_checkpoint_and_its_duplicate(tmp_path):
    saved(tmp_path, "b.pt", net(torch.randn(SIZE)))
    shutil.copy(tmp_path / "b.pt", tmp_path / "a.pt")
    lineage = recover(tmp_path)
    assert lineage.runs[0].checkpoints == ("a.pt", "b.pt")
    assert descent(lineage) == {"b.pt": "a.pt"}


def test_a_half_precision_run_beside_an_original(tmp_path):
    rng = np.random.default_rng(0)
    for k, point in enumerate(walk(rng, 5)):
        saved(tmp_path, f"{k}.pt", {n: t.half() for n, t in net(point).items()})
    saved(tmp_path, "last.pt", net(point))
    table = recover(tmp_path).table()
    assert table["path"].tolist() == [*(f"{k}.pt" for k in range(4)), "last.pt", "4.pt"]
    assert table["kind"].tolist()[-2:] == ["step", "half-precision copy"]


def test_quantised_layers_of_torch(tmp_path):
    rng = np.random.default_rng(0)
    for k, point in enumerate(walk(rng, 4, first=0.1)):
        saved(tmp_path, f"{k}.pt", net(point))
    shrunk = {name: per_tensor(tensor, 8) for name, tensor in net(point).items()}
    save_file(shrunk, tmp_path / "small.safetensors")
    table = recover(tmp_path).table().set_index("path")
    assert table.loc["small.safetensors", "kind"] == "quantised copy"
    assert table.loc["small.safetensors", "parent"] == "3.pt"


def test_weights_beyond_float32_are_rejected(tmp_path):
    saved(tmp_path, "fine.pt", net(torch.randn(SIZE)))
    saved(tmp_path, "huge.pt", {"a": torch.full((3, 3), 1e300, dtype=torch.float64)})
    (rejected,) = recover(tmp_path).rejected
    assert rejected.path == "huge.pt"
    assert "range of float32" in rejected.reason


def test_shortened_weights_give_the_same_tree(tmp_path):
    rng = np.random.default_rng(0)
    size = 40_000
    trunk = walk(rng, 8, size=size, slowing=0.95)
    branch = walk(rng, 3, trunk[4], first=0.4, size=size)
    frozen = {"positions": torch.randn(30, 30)}
    for k, point in enumerate(np.concatenate([trunk, branch])):
        state = {"a.weight": torch.tensor(point).float().view(200, -1)}
        saved(tmp_path, f"{k}.pt", state | frozen)
    exact = recover(tmp_path)
    short = recover(tmp_path, memory=11 * 4 * 5000)
    assert short.runs == exact.runs
    assert (
        descent(short)
        == descent(exact)
        == {f"{k}.pt": f"{4 if k == 8 else k - 1}.pt" for k in range(1, 11)}
    )
    for one, other in zip(short.links, exact.links, strict=True):
        assert one.distance == pytest.approx(other.distance, rel=0.05)
        assert one.distance != other.distance


def test_memory_does_not_grow_with_the_weights(tmp_path):
    rng = np.random.default_rng(0)
    size, n = 100_000, 40
    for k, point in enumerate(walk(rng, n, size=size)):
        saved(tmp_path, f"{k}.pt", {"a.weight": torch.tensor(point).float()[None]})
    memory = n * 4 * 2000
    recover(tmp_path, memory=memory)  # imports and compiles
    tracemalloc.start()
    lineage = recover(tmp_path, memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(lineage.runs) == 1
    assert peak < 0.4 * n * 4 * size


# --- errors ----------------------------------------------------------------


def test_a_missing_folder_and_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        recover(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file"):
        recover(tmp_path / "file")


def test_an_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"no checkpoints in .*: pass a folder that"):
        recover(tmp_path)


def test_nothing_can_be_read(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"")
    (tmp_path / "b.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"none of the 2 checkpoints .* 'a.pt': it is"):
        recover(tmp_path)


# --- files -----------------------------------------------------------------


def test_files_are_written(found, tmp_path, book_style):
    out = tmp_path / "new" / "folder"
    written = write_lineage(found, out, lineage_pictures(found))
    names = ["lineage.json", "lineage.csv", "lineage.svg", "lineage.png"]
    names.append("lineage.sha256")  # last, of all the others
    assert [path.name for path in written] == names
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert json.loads((out / "lineage.json").read_text("utf-8")) == found.to_json()
    table = pd.read_csv(out / "lineage.csv")
    assert list(table) == [
        "path", "run", "position", "kind", "parent", "distance", "confidence",
        "architecture",
    ]  # fmt: skip
    assert table["path"].tolist() == found.table()["path"].tolist()
    assert (
        table["parent"].isna().sum() == (table["kind"].isin(["root", "outlier"])).sum()
    )
    assert (out / "lineage.svg").read_text("utf-8").startswith("<?xml")


def test_equal_lineages_give_equal_bytes(found, tmp_path, book_style):
    first, second = (
        write_lineage(found, tmp_path / name, lineage_pictures(found)) for name in "ab"
    )
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_outputs_inside_the_folder_are_not_read_again(tmp_path, book_style):
    rng = np.random.default_rng(0)
    for k, point in enumerate(walk(rng, 4)):
        saved(tmp_path, f"{k}.pt", net(point))
    first = recover(tmp_path)
    write_lineage(first, tmp_path, lineage_pictures(first))
    assert recover(tmp_path) == first


def test_nothing_is_written_when_something_fails(found, tmp_path, monkeypatch):
    (tmp_path / "lineage.json").write_text("before")

    def broken(lineage):
        raise RuntimeError

    monkeypatch.setattr(package.Lineage, "table", broken)
    with pytest.raises(RuntimeError):
        write_lineage(found, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lineage.json"]
    assert (tmp_path / "lineage.json").read_text() == "before"


def test_the_place_for_files_is_taken_by_a_file(found, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match=r"out is a file: give the name of a folder"):
        write_lineage(found, tmp_path / "out")
