"""A lineage on disk: JSON, a table, a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

from nwslib.lineage.result import Lineage

#: What a picture's file says about its making: nothing that differs from run to run.
_METADATA = {"svg": {"Date": None}, "png": {"Software": None}}


def write_lineage(lineage: Lineage, out: str | Path) -> list[Path]:
    """Write ``lineage.json``, ``lineage.csv``, ``lineage.svg`` and ``lineage.png``.

    Nothing is written before all is ready, and each file appears whole or not at
    all, in place of an earlier one.

    Parameters
    ----------
    lineage : Lineage
    out : path
        Folder, made if need be.

    Returns
    -------
    list of Path
        What was written; without matplotlib and seaborn (the extra ``book``) no
        pictures.

    Raises
    ------
    ValueError
        If ``out`` is a file.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: give the name of a folder for the lineage.")
    contents = {
        "lineage.json": json.dumps(lineage.to_json(), indent=1, allow_nan=False) + "\n",
        "lineage.csv": lineage.table().to_csv(index=False, lineterminator="\n"),
    }
    files = {name: text.encode() for name, text in contents.items()} | pictures(lineage)
    from nwslib.zoo.storage import write  # pandas: only where it is used

    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write(out, name, data)
    return [out / name for name in files]


def pictures(lineage: Lineage) -> dict[str, bytes]:
    """The tree as SVG and PNG by file name; nothing where they cannot be drawn."""
    try:
        import matplotlib as mpl

        from nwslib import plots
    except ModuleNotFoundError:  # of the extra "book"
        return {}
    from matplotlib import pyplot as plt

    files = {}
    with mpl.rc_context():
        plots.use_book_style()
        figure = plots.lineage_tree(lineage)
        for suffix in ("svg", "png"):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=suffix, metadata=_METADATA[suffix])
            files[f"lineage.{suffix}"] = drawn.getvalue()
        plt.close(figure)
    return files
