import json
import math
import os
import shutil
import subprocess
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
import torch

from nwslib import report
from nwslib.profiles import get_profile
from nwslib.report import (
    check_parameters,
    larger_table,
    provenance,
    recorded,
    side_by_side,
    verdict,
    write_results,
    write_table,
)

KNOWN = "profile seed n_models"
#: A notebook's namespace in the cell after the parameters.
CELLS = {"In": ["", "profile = ...", "check_parameters(...)"], "Out": {}}
PARAMETERS = {"profile": "quick", "seed": 0, "n_models": None}


# --- misspelt parameters ----------------------------------------------------


def test_known_parameters_pass():
    check_parameters(CELLS | PARAMETERS, KNOWN)


@pytest.mark.parametrize("value", ["x", 5, 0.5, True, [1], {"a": 1}, (1,), None])
def test_misspelt_parameter_is_named(value):
    given = CELLS | PARAMETERS | {"n_modles": value}
    message = "unknown parameter 'n_modles': this chapter takes .*'seed', 'n_models'"
    with pytest.raises(ValueError, match=message):
        check_parameters(given, KNOWN)


def test_what_is_no_parameter_passes():
    others = {"_private": 1, "report": report, "check": check_parameters}
    check_parameters(CELLS | PARAMETERS | others, KNOWN)


def test_injected_parameters_are_checked_too():
    given = CELLS | PARAMETERS | {"sede": 1}
    given["In"] = [*CELLS["In"], "# injected"]
    with pytest.raises(ValueError, match="unknown parameter 'sede'"):
        check_parameters(given, KNOWN)


def test_rerun_by_hand_leaves_the_readers_variables_alone():
    given = CELLS | PARAMETERS | {"my_own": 1}
    given["In"] = [""] + ["a cell"] * 4
    check_parameters(given, KNOWN)


def test_the_cell_that_fetches_the_library_does_not_count():
    given = CELLS | PARAMETERS | {"sede": 1}
    colab = 'if "google.colab" in sys.modules: ...'
    given["In"] = ["", colab, *CELLS["In"][1:], "# injected"]
    with pytest.raises(ValueError, match="unknown parameter 'sede'"):
        check_parameters(given, KNOWN)


# --- provenance -------------------------------------------------------------


def test_provenance_is_plain_json_and_complete():
    source = provenance(get_profile("quick"), 3, "cpu", time.time() - 2)
    assert json.loads(json.dumps(source, allow_nan=False)) == source
    assert source["profile"] == json.loads(json.dumps(asdict(get_profile("quick"))))
    assert (source["seed"], source["device"]) == (3, "cpu")
    assert source["packages"]["torch"] == metadata.version("torch")
    assert source["packages"]["umap-learn"] == metadata.version("umap-learn")
    assert 2 <= source["seconds"] < 60


def test_provenance_names_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    source = provenance(get_profile("quick"), 0, "cuda:1", time.time())
    assert source["device"] == "GPU cuda:1"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout that report.py seems to lie in; runs git there."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)  # as set inside a git hook
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    module = tmp_path / "report.py"
    module.write_text("one")
    monkeypatch.setattr(report, "__file__", str(module))

    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", *who, *words],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    return git


def commit_of_a_run():
    return provenance(get_profile("quick"), 0, "cpu", time.time())["commit"]


def test_provenance_names_the_commit_and_marks_edits(checkout):
    checkout("init", "--quiet")
    checkout("add", ".")
    checkout("commit", "--quiet", "--message", "first")
    head = checkout("rev-parse", "HEAD")
    assert commit_of_a_run() == head[:12]
    Path(report.__file__).write_text("two")
    assert commit_of_a_run() == f"{head[:12]}-dirty"


def test_provenance_outside_git_has_no_commit(checkout):
    assert commit_of_a_run() is None


def test_provenance_without_git_has_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit_of_a_run() is None


# --- results files ----------------------------------------------------------

SOURCE = {"profile": {"name": "paper"}, "seed": 0}
NUMBERS = {"A1": {"purity": 1.0, "ordered_pairs": None}, "spaces": [0, 500]}


def test_written_results_are_read_back(tmp_path):
    path = write_results(tmp_path / "out", "04_versioning", NUMBERS, SOURCE)
    assert path == tmp_path / "out" / "results" / "04_versioning-paper.json"
    found = recorded("04_versioning", tmp_path / "out" / "results")
    assert found == {"numbers": NUMBERS, "provenance": SOURCE}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_results_of_profiles_lie_side_by_side(tmp_path):
    write_results(tmp_path, "01_x", {"n": 1}, SOURCE)
    write_results(tmp_path, "01_x", {"n": 2}, {"profile": {"name": "quick"}})
    folder = tmp_path / "results"
    assert recorded("01_x", folder)["numbers"] == {"n": 1}
    assert recorded("01_x", folder, profile="quick")["numbers"] == {"n": 2}


def test_nothing_recorded(tmp_path):
    assert recorded("01_x", tmp_path) == {}
    assert recorded("01_x", tmp_path / "absent") == {}


def test_killed_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_results(tmp_path, "01_x", {"n": 1}, SOURCE)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    for write in (
        lambda: write_results(tmp_path, "01_x", {"n": 2}, SOURCE),
        lambda: write_table(tmp_path, "01_x", pd.DataFrame({"n": [2]}), "paper"),
    ):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert recorded("01_x", path.parent)["numbers"] == {"n": 1}
    assert list(path.parent.iterdir()) == [path]


def test_files_of_earlier_versions_are_read_unchecked(tmp_path):
    (tmp_path / "01_x-paper.json").write_text('{"numbers": {}, "provenance": {}}')
    assert recorded("01_x", tmp_path) == {"numbers": {}, "provenance": {}}
    table = pd.DataFrame({"n": [1]})
    table.to_parquet(tmp_path / "x-full.parquet")
    pd.testing.assert_frame_equal(larger_table("x", table, "quick", tmp_path), table)


def test_numbers_that_are_no_json_leave_the_old_file(tmp_path):
    path = write_results(tmp_path, "01_x", {"n": 1}, SOURCE)
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_results(tmp_path, "01_x", {"n": torch.zeros(1)}, SOURCE)
    assert recorded("01_x", path.parent)["numbers"] == {"n": 1}


# --- side by side -----------------------------------------------------------


@pytest.mark.parametrize(
    ("paper", "ours", "word"),
    [
        (0.7, 0.7, "agrees"),
        (0.5, 0.75, "agrees"),  # the tolerance itself still agrees
        (0.5, 0.25, "agrees"),
        (0.5, 0.76, "differs"),
        (0.5, 0.24, "differs"),
        (0.5, math.inf, "differs"),
        (0.5, math.nan, "no run"),
        (0.5, None, "no run"),
    ],
)
def test_verdict(paper, ours, word):
    assert verdict(paper, ours, tolerance=0.25) == word


PAPER = {"purity": 1.0, "ordered": 20.0}


def test_verdict_is_on_the_recorded_run():
    table = side_by_side(
        PAPER, {"purity": 0.5, "ordered": 19.5}, {"purity": 1.0, "ordered": 3.0}, 0.5
    )
    assert table.index.tolist() == ["purity", "ordered"]
    assert list(table) == ["paper", "recorded", "this run", "verdict"]
    assert table.loc["ordered"].tolist() == [20.0, 19.5, 3.0, "agrees"]
    strict = side_by_side(PAPER, {"purity": 0.5}, {"purity": 1.0}, 0.1)
    assert strict["verdict"].tolist() == ["differs", "no run"]


def test_without_a_recorded_run_the_verdict_is_on_this_one():
    table = side_by_side(PAPER, {}, {"purity": 1.0, "ordered": 3.0, "other": 1.0}, 0.5)
    assert table["verdict"].tolist() == ["agrees", "differs"]
    assert table["recorded"].isna().all()


def test_without_any_run_the_paper_stands_alone():
    table = side_by_side(PAPER, {}, {}, 0.5)
    assert table["paper"].tolist() == [1.0, 20.0]
    assert table["verdict"].tolist() == ["no run", "no run"]


def test_nan_is_written_as_null(tmp_path):
    numbers = {"a": math.nan, "b": [1.0, {"c": math.nan}]}
    source = {"profile": {"name": "paper"}}
    path = report.write_results(tmp_path, "09_x", numbers, source)
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["numbers"] == {
        "a": None,
        "b": [1.0, {"c": None}],
    }


def test_a_quick_run_shows_the_recorded_table(tmp_path):
    large = pd.DataFrame({"run": [3, 1], "init": ["normal", "constant"]})
    small, results = large[:1], tmp_path / "results"
    assert report.larger_table("runs", small, "quick", results) is small
    path = report.write_table(tmp_path, "runs", large, "full")
    assert [file.name for file in results.iterdir()] == ["runs-full.parquet"]
    assert path == results / "runs-full.parquet"
    shown = report.larger_table("runs", small, "quick", results)
    pd.testing.assert_frame_equal(shown, large)
    for profile in ("full", "paper"):
        assert report.larger_table("runs", small, profile, results) is small


def test_provenance_has_every_size_as_plain_json(tmp_path):
    source = report.provenance(get_profile("full"), 0, "cpu", 0.0)
    path = report.write_results(tmp_path, "08_x", {}, source)
    stored = json.loads(path.read_text("utf-8"))["provenance"]["profile"]
    assert stored["sources"][0]["name"] == "mnist"


# --- all chapters' files ----------------------------------------------------


def test_the_first_profile_that_a_chapter_has_counts(tmp_path):
    for chapter, name in (("02_b", "full"), ("01_a", "full"), ("01_a", "paper")):
        source = provenance(get_profile(name), 0, "cpu", time.time())
        write_results(tmp_path, chapter, {"from": name}, source)
    folder = tmp_path / "results"
    (folder / "bench-full.json").write_text("{}")
    found = report.all_results(folder)
    assert list(found) == ["01_a", "02_b"]
    assert [each["numbers"]["from"] for each in found.values()] == ["paper", "full"]
    assert list(report.all_results(folder, ["paper"])) == ["01_a"]
    assert report.all_results(tmp_path / "none") == {}


def test_provenance_is_laid_out_a_row_a_chapter():
    source = provenance(get_profile("quick"), 3, "cpu", time.time() - 2)
    numbers = {"01_a": {"numbers": {}, "provenance": source | {"commit": None}}}
    table = report.provenance_table(numbers)
    row = table.loc["01_a"]
    assert (row["profile"], row["seed"], row["commit"]) == ("quick", 3, "no checkout")
    assert row["seconds"] >= 2
    assert row["torch"] == metadata.version("torch")
    assert report.provenance_table({}).empty


def test_a_table_in_markdown_keeps_its_bars():
    table = pd.DataFrame({"x": ["a|b"], "y": [1]}, index=["r"]).rename_axis("name")
    lines = report.markdown(table).splitlines()
    assert lines == ["| name | x | y |", "| --- | --- | --- |", r"| r | a\|b | 1 |"]
