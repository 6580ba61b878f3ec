"""A lineage on disk: JSON, a table, and the pictures given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nwslib import _files
from nwslib.lineage.result import Lineage


def write_lineage(
    lineage: Lineage, out: str | Path, pictures: Mapping[str, bytes] | None = None
) -> list[Path]:
    """Write ``lineage.json``, ``lineage.csv`` and the pictures given.

    Last comes ``lineage.sha256``, their checksums, to be compared by ``python -m nwslib
    verify`` or ``sha256sum --check``.

    Nothing is written before all is ready, and each file appears whole or not at
    all, in place of an earlier one.

    Parameters
    ----------
    lineage : Lineage
    out : path
        Folder, made if need be.
    pictures : mapping of str to bytes, optional
        Files by name, as :func:`nwslib.plots.lineage_pictures` draws them.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ValueError
        If ``out`` is a file.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: give the name of a folder for the lineage.")
    text = json.dumps(lineage.to_json(), indent=1, allow_nan=False) + "\n"
    files = {
        "lineage.json": text.encode(),
        "lineage.csv": _files.csv_of(lineage.table()),
    }
    files |= pictures or {}
    files[f"lineage{_files.LIST}"] = _files.list_of(files)
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        _files.put(out / name, data)
    return [out / name for name in files]
