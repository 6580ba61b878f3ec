"""The workflows run what a person runs: make's targets, with few rights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SETUP = ROOT / ".github" / "actions" / "setup" / "action.yml"
TARGETS = set(
    re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
)

every_workflow = pytest.mark.parametrize(
    "workflow", WORKFLOWS, ids=lambda path: path.stem
)


def read(path: Path) -> dict:
    # YAML 1.1 reads the key 'on' as true.
    return yaml.load(path.read_text("utf-8"), yaml.BaseLoader)


def steps_of(path: Path) -> list[dict]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_there_is_a_workflow_for_each_purpose() -> None:
    purposes = ["book", "fast", "full", "links", "publish", "release"]
    assert [path.stem for path in WORKFLOWS] == purposes
    for path in WORKFLOWS:
        assert read(path)["name"] == path.stem


@every_workflow
def test_steps_run_make_targets_only(workflow: Path) -> None:
    for step in steps_of(workflow):
        if "run" in step:
            match = re.fullmatch(r"make ([a-z-]+)( [A-Z]+=\w+)*", step["run"])
            assert match, step["run"]
            assert match[1] in TARGETS, step["run"]


@every_workflow
def test_rights_are_few_and_time_is_limited(workflow: Path) -> None:
    content = read(workflow)
    assert content["permissions"] == {"contents": "read"}
    assert "concurrency" in content
    granted = {
        right
        for job in content["jobs"].values()
        for right, level in job.get("permissions", {}).items()
        if level != "read"
    }
    allowed = {
        "publish": {"pages", "id-token"},
        "release": {"contents", "id-token"},
    }
    assert granted == allowed.get(workflow.stem, set())
    for job in content["jobs"].values():
        assert int(job["timeout-minutes"]) > 0


@every_workflow
def test_actions_are_pinned(workflow: Path) -> None:
    used = [step["uses"] for step in steps_of(workflow) if "uses" in step]
    used += [step["uses"] for step in read(SETUP)["runs"]["steps"]]
    assert used
    for action in used:
        if action.startswith("./"):
            assert (ROOT / action / "action.yml").is_file(), action
        else:  # a major version, or PyPI's branch of one
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", action), action


def test_ci_runs_what_the_workflows_of_a_change_run() -> None:
    here = set(re.findall(r"make ([a-z-]+)", (ROOT / ".ci/run").read_text("utf-8")))
    there = {
        step["run"].split()[1]
        for name in ("fast", "book")
        for step in steps_of(ROOT / ".github" / "workflows" / f"{name}.yml")
        if "run" in step
    }
    # The slow tests too, which on GitHub are left to the full and release workflows.
    assert here == there - {"test"} | {"test-all"}
