"""Results files, and numbers side by side: paper, recorded run, this run.

Every chapter writes its numbers with their provenance to one small JSON file. A
file of a paper-scale run, copied to ``book/results``, is a *recorded* run: later
builds, however small, print it beside their own numbers.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pandas import DataFrame

    from nwslib.profiles import Profile

#: Packages that numbers may depend on.
_PACKAGES = ("numpy", "numba", "scikit-learn", "scipy", "torch", "umap-learn")


def check_parameters(given: Mapping[str, object], known: str) -> None:
    """Refuse misspelt papermill parameters, which papermill itself ignores.

    Call it in the cell after the parameters, before anything else is defined.
    Re-run by hand in a session that has gone on, it does nothing: by then the
    reader's own variables stand beside the parameters.

    Parameters
    ----------
    given : mapping
        The chapter's ``globals()``.
    known : str
        The chapter's parameters, separated by spaces.

    Raises
    ------
    ValueError
        Naming the unknown parameter and the known ones.
    """
    # the cells so far: IPython's empty first, parameters, injected, this one; before
    # them perhaps the one that fetches the library on Colab
    cells = [cell for cell in given.get("In", ()) if "google.colab" not in cell]
    if len(cells) > 4:
        return
    plain = (str, int, float, bool, list, dict, tuple, type(None))
    names = {
        name
        for name, value in given.items()
        if not name.startswith("_") and name not in ("In", "Out")
        if isinstance(value, plain)
    }
    unknown = sorted(names - set(known.split()))
    if unknown:
        raise ValueError(
            f"unknown parameter '{unknown[0]}': this chapter takes {known.split()}."
        )


def provenance(profile: Profile, seed: int, device: str, started: float) -> dict:
    """Where numbers come from.

    Parameters
    ----------
    profile : Profile
    seed : int
    device : str
    started : float
        :func:`time.time` at the chapter's start.

    Returns
    -------
    dict
        Plain JSON values: commit, date, profile, seed, device, machine, package
        versions, duration in seconds.
    """
    return {
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "profile": json.loads(json.dumps(asdict(profile))),  # tuples as lists
        "seed": seed,
        "device": torch.cuda.get_device_name(device) if "cuda" in device else device,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "seconds": round(time.time() - started, 1),
    }


def write_results(
    out_dir: str | Path, chapter: str, numbers: dict, source: dict
) -> Path:
    """Write a chapter's numbers and their provenance; NaN becomes null.

    Returns
    -------
    Path
        ``out_dir/results/CHAPTER-PROFILE.json``; it appears whole or not at all.
    """
    path = Path(out_dir) / "results" / f"{chapter}-{source['profile']['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = _without_nan({"numbers": numbers, "provenance": source})
    text = json.dumps(content, indent=1, allow_nan=False)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text + "\n", "utf-8")
    unfinished.replace(path)
    return path


def recorded(
    chapter: str, folder: str | Path = "results", profile: str = "paper"
) -> dict:
    """Read a recorded run's numbers; an empty dict when there is none.

    Parameters
    ----------
    chapter : str
        As given to :func:`write_results`.
    folder : path
        ``book/results``, seen from a chapter.
    profile : str
    """
    path = Path(folder) / f"{chapter}-{profile}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def write_table(out_dir: str | Path, name: str, table: DataFrame, profile: str) -> Path:
    """Write a small table beside the numbers, to be recorded like them.

    Returns
    -------
    Path
        ``out_dir/results/NAME-PROFILE.parquet``; it appears whole or not at all.
    """
    path = Path(out_dir) / "results" / f"{name}-{profile}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    table.to_parquet(unfinished, index=False, compression="zstd")
    unfinished.replace(path)
    return path


def larger_table(
    name: str, own: DataFrame, profile: str, folder: str | Path = "results"
) -> DataFrame:
    """Choose what a quick build's page shows: the recorded ``full`` run's table.

    Parameters
    ----------
    name : str
        As given to :func:`write_table`.
    own : DataFrame
        This run's. It is returned where nothing is recorded, and by every profile
        but ``quick``.
    profile : str
    folder : path
        ``book/results``, seen from a chapter.
    """
    import pandas as pd

    path = Path(folder) / f"{name}-full.parquet"
    return pd.read_parquet(path) if profile == "quick" and path.is_file() else own


def verdict(paper: float, ours: float, tolerance: float) -> str:
    """``agrees`` when two numbers are within ``tolerance``, else ``differs``.

    An absent number (None or NaN) gives ``no run``.
    """
    if ours is None or math.isnan(ours):
        return "no run"
    return "agrees" if abs(paper - ours) <= tolerance else "differs"


def side_by_side(
    paper: Mapping[str, float],
    recorded: Mapping[str, float],
    this_run: Mapping[str, float],
    tolerance: float,
) -> DataFrame:
    """One row a quantity: paper, recorded, this run, verdict.

    The verdict is on the recorded run, which has the paper's scale; without one,
    on this run.
    """
    import pandas as pd

    rows = []
    for name, printed in paper.items():
        theirs, ours = recorded.get(name, math.nan), this_run.get(name, math.nan)
        judged = theirs if recorded else ours
        rows.append((name, printed, theirs, ours, verdict(printed, judged, tolerance)))
    columns = ["quantity", "paper", "recorded", "this run", "verdict"]
    return pd.DataFrame(rows, columns=columns).set_index("quantity")


def _without_nan(value: object) -> object:
    """The same nested value with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _commit() -> str | None:
    """The checkout's commit, with a mark if files differ; None outside git."""
    here = Path(__file__).parent
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()
