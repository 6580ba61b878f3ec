"""The command line: what it prints, writes and returns."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from test_foreign_zoos import small_cnn_zoo, trial
from test_lineage import net, walk

from nwslib.__main__ import main
from nwslib.zoo import Zoo


@pytest.fixture
def folder(tmp_path):
    """Four checkpoints of a run and an empty file."""
    path = tmp_path / "some folder"
    path.mkdir()
    for k, point in enumerate(walk(np.random.default_rng(0), 4)):
        torch.save(net(point), path / f"{k}.pt")
    (path / "empty.pt").write_bytes(b"")
    return path


def test_a_folder_is_sorted(folder, tmp_path, capsys, book_style):
    out = tmp_path / "new" / "out"
    assert main(["lineage", str(folder), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "4 checkpoints of 1 architecture in 1 run; 1 rejected",
        *(
            str(out / f"lineage.{suffix}")
            for suffix in ("json", "csv", "svg", "png", "sha256")
        ),
    ]
    assert said.err == (
        "rejected 'empty.pt': it is empty (0 bytes): copy or save it again.\n"
    )
    content = json.loads((out / "lineage.json").read_text("utf-8"))
    assert content["runs"][0]["checkpoints"] == [f"{k}.pt" for k in range(4)]
    assert content["rejected"][0]["path"] == "empty.pt"


def test_a_foreign_name_cannot_command_the_terminal(folder, tmp_path, capsys):
    (folder / "\x1b[2J\nall is well.pt").write_bytes(b"")
    assert main(["lineage", str(folder), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert r"\x1b[2J\nall is well.pt" in said and "\x1b" not in said


@pytest.mark.parametrize("missing", ["matplotlib", "seaborn"])
def test_without_the_extra_book_there_are_no_pictures(
    missing, folder, tmp_path, monkeypatch, capsys
):
    for name in list(sys.modules):
        if name.startswith((missing, "nwslib.plots")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("nwslib.plots", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    out = tmp_path / "out"
    assert main(["lineage", str(folder), "--out", str(out)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        "no picture was drawn, since matplotlib or seaborn is missing"
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "lineage.csv", "lineage.json", "lineage.sha256",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("absent", None, "absent"),
        ("file.txt", b"", "file.txt"),
        ("empty", [], "no checkpoints in"),
        ("broken", [b""], "none of the 1 checkpoints in"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(name, content, sentence, tmp_path, capsys):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
        for k, data in enumerate(content):
            (path / f"{k}.pt").write_bytes(data)
    assert main(["lineage", str(path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("nwslib: ")
    assert sentence in said.err
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written(folder, capsys):
    taken = folder / "0.pt"
    assert main(["lineage", str(folder), "--out", str(taken)]) == 1
    assert "0.pt is a file: give the name of a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["lineage"], ["lineage", "x"], ["linage", "x"]]
)
def test_wrong_usage_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: python -m nwslib" in capsys.readouterr().err


def test_help_names_everything(capsys):
    with pytest.raises(SystemExit) as left:
        main(["lineage", "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    for word in ("FOLDER", "--out DIR", ".safetensors", "lineage.json"):
        assert word in said


def test_as_a_module(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "nwslib", "lineage", folder, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "lineage.json").is_file()
    failed = subprocess.run(
        [sys.executable, "-m", "nwslib", "lineage", tmp_path / "no", "--out", tmp_path],
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("nwslib: ")


def test_import_turns_a_foreign_zoo_into_one_of_ours(tmp_path, capsys):
    small_cnn_zoo(tmp_path / "theirs")
    assert (
        main(["import", "small-cnn", str(tmp_path / "theirs"), str(tmp_path / "z")])
        == 0
    )
    assert capsys.readouterr().out == f"3 runs in {tmp_path / 'z'}; 0 rejected\n"
    zoo = Zoo.open(tmp_path / "z")
    assert (len(zoo), len(zoo.snapshots)) == (3, 9)


def test_what_import_rejects_is_told(tmp_path, capsys):
    for name in "ab":
        trial(tmp_path / "theirs" / name)
    (tmp_path / "theirs/b/params.json").write_text("{")
    assert (
        main(["import", "model-zoo", str(tmp_path / "theirs"), str(tmp_path / "z")])
        == 0
    )
    said = capsys.readouterr()
    assert said.out == f"1 runs in {tmp_path / 'z'}; 1 rejected\n"
    assert said.err.startswith("rejected 'b")


def test_import_knows_its_kinds(tmp_path, capsys):
    assert main(["import", "onnx", str(tmp_path), str(tmp_path / "z")]) == 1
    assert capsys.readouterr().err == (
        "nwslib: unknown kind of zoo 'onnx': choose one of ['nws', 'model-zoo', "
        "'small-cnn'].\n"
    )
