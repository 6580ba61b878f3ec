"""Results files, and numbers side by side: paper, recorded run, this run.

Every chapter writes its numbers with their provenance to one small JSON file. A
file of a paper-scale run, copied to ``book/results``, is a *recorded* run: later
builds, however small, print it beside their own numbers.

Results and tables carry a checksum of themselves, which reading compares. Files
recorded by earlier versions have none.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nwslib import _files

if TYPE_CHECKING:
    from pandas import DataFrame

    from nwslib.profiles import Profile

#: What files without a checksum, recorded by earlier versions, may hold.
_UNSEALED = {"numbers", "provenance"}
#: Where in a table's metadata its checksum stands.
_TABLE_SEAL = b"nwslib sha256 %s."

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
        "seconds": round(max(time.time() - started, 0), 1),  # a clock can be set back
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
    content = json.loads(json.dumps(content, allow_nan=False))  # as it is read back
    _files.put(path, (json.dumps(_files.sealed(content), indent=1) + "\n").encode())
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

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    path = Path(folder) / f"{chapter}-{profile}.json"
    return read_results(path) if path.is_file() else {}


def read_results(path: Path) -> dict:
    """Read a results file, of a chapter or of a bench.

    Returns
    -------
    dict
        Its content without the checksum.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    try:
        content = dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, "it is no JSON object") from error
    seal = content.pop(_files.SEAL, None)
    if seal not in (None, _files.digest(content)):
        raise _damaged(path, "its checksum differs")
    if seal is None and not content.keys() <= _UNSEALED:
        raise _damaged(path, "it holds more than results")
    return content


def all_results(
    folder: str | Path, profiles: Iterable[str] = ("paper", "full")
) -> dict[str, dict]:
    """Read the results files of all chapters.

    Parameters
    ----------
    folder : path
        ``book/results``, or a run's ``out_dir/results``.
    profiles : iterable of str
        The first of them that a chapter has counts.

    Returns
    -------
    dict
        Chapter, in order of name, to its file's ``numbers`` and ``provenance``.
    """
    found: dict[str, dict] = {}
    for profile in profiles:
        for path in Path(folder).glob(f"[0-9][0-9]_*-{profile}.json"):
            chapter = path.stem.removesuffix(f"-{profile}")
            if chapter not in found:
                found[chapter] = json.loads(path.read_text("utf-8"))
    return dict(sorted(found.items()))


def provenance_table(results: Mapping[str, Mapping]) -> DataFrame:
    """Lay out where chapters' numbers come from, a row a chapter.

    Parameters
    ----------
    results : mapping
        As from :func:`all_results`.

    Returns
    -------
    DataFrame
        ``profile``, ``seconds``, ``date``, ``commit``, ``seed``, ``device``,
        ``machine``, ``python``, and a column for each package's version.
    """
    import pandas as pd

    plain = ("seed", "device", "machine", "python")
    rows = {}
    for chapter, content in results.items():
        source = content["provenance"]
        rows[chapter] = {
            "profile": source["profile"]["name"],
            "seconds": source["seconds"],
            "date": source["date"],
            "commit": source["commit"] or "no checkout",
            **{name: source[name] for name in plain},
            **source["packages"],
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def markdown(table: DataFrame) -> str:
    """Write a table in markdown, index first; its cells may hold markdown."""
    rows = [[table.index.name or "", *table.columns], ["---"] * (table.shape[1] + 1)]
    rows += [[index, *cells] for index, *cells in table.itertuples()]
    lines = (" | ".join(str(cell).replace("|", r"\|") for cell in row) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


def write_table(out_dir: str | Path, name: str, table: DataFrame, profile: str) -> Path:
    """Write a small table beside the numbers, to be recorded like them.

    Returns
    -------
    Path
        ``out_dir/results/NAME-PROFILE.parquet``; it appears whole or not at all.
    """
    path = Path(out_dir) / "results" / f"{name}-{profile}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    _files.put(path, _sealed_table(table))
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

    Raises
    ------
    ValueError
        If the recorded table is damaged.
    """
    path = Path(folder) / f"{name}-full.parquet"
    return read_table(path) if profile == "quick" and path.is_file() else own


def read_table(path: Path) -> DataFrame:
    """Read what :func:`write_table` wrote; ValueError if it is damaged."""
    data = path.read_bytes()
    if found := re.search(_TABLE_SEAL % b"([0-9a-f]{64})", data):
        blank = data[: found.start(1)] + b"0" * 64 + data[found.end(1) :]
        if hashlib.sha256(blank).hexdigest().encode() != found[1]:
            raise _damaged(path, "its checksum differs")
    try:
        return _files.table_of(data)
    except Exception as error:  # a damaged file: anything can be wrong with it
        raise _damaged(path, "it is no parquet table") from error


def _sealed_table(table: DataFrame) -> bytes:
    """A parquet file whose metadata hold the sha256 of the file with zeros there."""
    import pyarrow as pa
    from pyarrow import parquet

    zeros = b"0" * 64
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    about = {**(arrow.schema.metadata or {}), b"comment": _TABLE_SEAL % zeros}
    buffer = io.BytesIO()
    arrow = arrow.replace_schema_metadata(about)
    # Arrow's own copy of the schema, in base64, would hold the seal a second time.
    parquet.write_table(arrow, buffer, compression="zstd")
    data = buffer.getvalue()
    if data.count(_TABLE_SEAL % zeros) != 1:
        raise ValueError("this version of pyarrow writes a table's metadata otherwise.")
    number = hashlib.sha256(data).hexdigest().encode()
    return data.replace(_TABLE_SEAL % zeros, _TABLE_SEAL % number)


def _damaged(path: Path, problem: str) -> ValueError:
    return ValueError(
        f"{path} is damaged ({problem}): restore it from a copy, or record it again."
    )


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
