"""A sampled zoo in the released layout, which :mod:`nwslib.foreign.nws` describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from nwslib import _files
from nwslib.foreign.nws import (
    CODES,
    COLUMNS,
    FLOAT,
    SPLITS,
    SUMS,
    architecture_of,
    counted,
    weights_file,
)
from nwslib.nws import stopping
from nwslib.zoo import Zoo

#: Columns of our table that the layout takes up.
_NEEDED = (
    "run", "layout", "dataset", "lr", "batch_size", "augmentation", "optimizer",
    "activation", "init", "filter_size", "conv_layers", "fc_layers", "conv_width",
    "fc_width", "batch_norm", "epochs", "steps", "seconds", "kept_epochs",
)  # fmt: skip


def write_nws(zoo: Zoo, folder: str | Path) -> Path:
    """Write a sampled zoo in the released layout.

    Weights are exact, as float64. Widths and depths are counted as the released code
    does. The layout has no place for losses, seeds and what ended a training.

    Parameters
    ----------
    zoo : Zoo
        One that :func:`nwslib.nws.sample` or :func:`nwslib.foreign.open_nws` gave.
    folder : path
        New or empty.

    Returns
    -------
    Path
        The table, ``nws.csv``. It is written last, so that a folder with a table is
        whole. ``nws.sha256`` beside it has the checksums of all files, which
        :func:`nwslib.foreign.open_nws` compares.

    Raises
    ------
    ValueError
        If the folder holds anything, or a run is no net of the family, lacks a part
        of its history or kept other epochs than the layout implies. Nothing is
        written then.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder} is a file or holds something: choose a new or empty folder."
        )
    if missing := [name for name in _NEEDED if name not in zoo.runs]:
        raise ValueError(
            f"the runs of zoo {zoo.path} have no column '{missing[0]}': choose a "
            "sampled zoo."
        )
    histories = dict(list(zoo.history.groupby("run")))
    runs = zoo.runs.to_dict("records")
    errors = [_errors(row, histories.get(row["run"])) for row in runs]
    table = pd.DataFrame([_row(zoo, row) for row in runs], columns=list(COLUMNS))
    sums = b""
    for row, path, rows in zip(runs, table["path"], errors, strict=True):
        (folder / path / "weights").mkdir(parents=True)
        stat = (len(rows), row["steps"], row["epochs"], row["seconds"])
        files = {"error.bin": rows, "stat.bin": np.array(stat)}
        for k, vector in enumerate(zoo.weights([row["run"]])[0]):  # [weights]
            files[weights_file(k)] = vector
        data = {
            f"{path}/{name}": v.astype(FLOAT).tobytes() for name, v in files.items()
        }
        for name in data:
            (folder / name).write_bytes(data[name])
        sums += _files.list_of(data)
    data = _files.csv_of(table)
    _files.put(folder / SUMS, sums + _files.list_of({"nws.csv": data}))
    _files.put(folder / "nws.csv", data)
    return folder / "nws.csv"


def _row(zoo: Zoo, row: dict) -> dict:
    """A row of their table for one of ours."""
    try:
        architecture = architecture_of(row)
        layout, n_conv = counted(architecture)
        kept = stopping.kept_epochs(row["epochs"], len(zoo.snapshots))
    except ValueError as error:
        raise _impossible(row, str(error)) from error
    if zoo.layouts[row["layout"]] != layout:
        raise _impossible(
            row, f"its layout is not that of {architecture.name}: choose a sampled zoo."
        )
    if row["kept_epochs"] != " ".join(map(str, kept)):
        raise _impossible(
            row,
            f"it kept the epochs {row['kept_epochs']}, where readers expect {kept}: "
            "choose a zoo whose runs were kept uniformly.",
        )
    codes = {}
    for name, known in CODES.items():
        word = row["init" if name == "initialization" else name]
        if word not in known:
            raise _impossible(
                row, f"its {name} is '{word}': the layout has codes for {list(known)}."
            )
        codes[name] = known.index(word)
    return codes | {
        "path": f"runs/{row['run']:05d}",
        "dataset": row["dataset"],
        "lrate": row["lr"],
        "batch_size": row["batch_size"],
        "batch_norm": row["batch_norm"],
        "augmentation": row["augmentation"],
        "filter_size": row["filter_size"],
        "depth_conv": row["conv_layers"],
        "depth_fc": row["fc_layers"] - 1,  # the output layer is not counted
        "width_conv": row["conv_width"] // 4,  # of the first layer
        "width_fc": row["fc_width"],
        "weightn_conv": n_conv,
        "weightn_fc": layout.size - n_conv,
    }


def _errors(row: dict, history: pd.DataFrame | None) -> np.ndarray:
    """Rows of ``error.bin``, float64 [epochs + 1, 5]."""
    epochs = pd.RangeIndex(row["epochs"] + 1)
    if history is None or history.duplicated(["epoch", "split"]).any():
        raise _impossible(
            row, "its history is missing or double: choose a sampled zoo."
        )
    accuracy = history.pivot(index="epoch", columns="split", values="accuracy")
    accuracy = accuracy.reindex(index=epochs, columns=SPLITS).to_numpy()
    if np.isnan(accuracy).any():
        raise _impossible(
            row,
            f"its history lacks accuracies of one of {list(SPLITS)} at one of the "
            f"epochs 0 to {row['epochs']}: choose a sampled zoo.",
        )
    smoothed = stopping.smoothed(accuracy[:, SPLITS.index("valid")])
    steps = epochs.to_numpy() * row["steps"] / max(row["epochs"], 1)
    errors = 100 * (1 - np.column_stack([accuracy, smoothed]))
    return np.column_stack([steps, errors]).astype(FLOAT)


def _impossible(row: dict, reason: str) -> ValueError:
    return ValueError(f"run {row['run']} does not fit the released layout: {reason}")
