"""pyproject.toml, constraints.txt, environment.yml and CITATION.cff agree."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nwslib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONSTRAINTS = [
    line
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]

#: conda-forge's name of a package -> PyPI's, where they differ.
CONDA_NAMES = {"pytorch": "torch", "python-build": "build"}


def project_requirements() -> dict[str, Requirement]:
    """Every requirement of pyproject.toml, extras included, by name."""
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for group in groups for text in group]
    return {canonicalize_name(r.name): r for r in requirements}


@pytest.mark.parametrize("line", CONSTRAINTS)
def test_a_constraint_is_a_name_and_a_public_version(line: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)


def test_constraints_pin_every_requirement_within_its_bounds() -> None:
    pins = {}
    for line in CONSTRAINTS:
        name, version = line.split("==")
        pins[canonicalize_name(name)] = version
    assert len(pins) == len(CONSTRAINTS)
    for text in PROJECT["build-system"]["requires"]:
        build = Requirement(text)
        assert build.specifier.contains(pins[canonicalize_name(build.name)])
    for name, requirement in project_requirements().items():
        assert requirement.specifier.contains(pins[name]), name


def test_conda_users_get_the_same_requirements() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    conda = {}
    for entry in environment["dependencies"]:
        if isinstance(entry, str):
            requirement = Requirement(entry)
            name = CONDA_NAMES.get(requirement.name, requirement.name)
            conda[canonicalize_name(name)] = requirement.specifier
    assert conda.pop("pip") == Requirement("pip").specifier
    assert str(conda.pop("python")) == PROJECT["project"]["requires-python"]
    assert conda == {
        name: requirement.specifier
        for name, requirement in project_requirements().items()
    }


def test_conda_allows_the_tested_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    pins = dict(line.split("==") for line in CONSTRAINTS)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    seen = set()
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):
            assert entry == {"pip": ["-e ."]}
            continue
        # conda's own syntax: a name in small letters, then bounds without a blank
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*([<>=!]=?[^ ]+)?", entry), entry
        requirement = Requirement(entry)
        name = CONDA_NAMES.get(requirement.name, requirement.name)
        if name not in ("python", "pip"):
            assert requirement.specifier.contains(pins[canonicalize_name(name)])
        seen.add(name)
    assert len(seen) == len(environment["dependencies"]) - 1
    assert environment["channels"] == ["conda-forge"]


def imported(path: Path) -> set[str]:
    """Top-level modules that a Python file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(str(node.module).partition(".")[0])
    return modules


@pytest.mark.parametrize("folder", ["nwslib", "book", "tests"])
def test_what_is_imported_is_required(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    modules_of_the_book = {"pipeline", "reference", "browser", "pdf"}
    ours = {path.stem for path in files} | {"nwslib"} | modules_of_the_book
    modules = set.union(*map(imported, files)) - set(sys.stdlib_module_names) - ours
    providers = packages_distributions()
    required = set(project_requirements())
    for module in modules:
        names = {canonicalize_name(name) for name in providers.get(module, [module])}
        assert names & required, f"{module} is in no list of pyproject.toml"


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == nwslib.__version__
    assert citation["license"] == PROJECT["project"]["license"]


def test_zenodo_tells_what_the_citation_tells() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    zenodo = json.loads((ROOT / ".zenodo.json").read_text("utf-8"))
    assert zenodo["title"] == citation["title"]
    assert zenodo["description"] == citation["abstract"]
    assert zenodo["license"] == citation["license"]
    assert zenodo["upload_type"] == citation["type"] == "software"
    assert zenodo["keywords"] == PROJECT["project"]["keywords"]
    names = [creator["name"] for creator in zenodo["creators"]]
    assert names == [author["name"] for author in citation["authors"]]
    cited = {entry["identifier"]: entry for entry in zenodo["related_identifiers"]}
    assert set(cited) == {entry["url"] for entry in citation["references"]}
    assert {entry["relation"] for entry in cited.values()} == {"cites"}


def test_citation_and_pages_name_one_repository() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    named = config.get("repository", {}).get("url")
    assert citation.get("repository-code") == named


def test_binder_gets_the_tested_versions() -> None:
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    line = script.read_text("utf-8").splitlines()[-1]
    assert line == 'pip install --no-cache-dir -c constraints.txt ".[book]"'
    assert "book" in PROJECT["project"]["optional-dependencies"]
    python = (ROOT / "binder" / "runtime.txt").read_text("utf-8").strip()
    tested = re.search(r"Python ([0-9.]+)", (ROOT / "constraints.txt").read_text())
    assert python == f"python-{tested[1]}"
