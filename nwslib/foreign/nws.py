"""The released layout of "Classifying the classifier": read it, write it.

Eilertsen et al. (2020). A CSV table names each run's folder and hyper-parameters; the
folder holds ``weights/001.bin``, ... (the vector after the k-th kept epoch, the first
one initial), ``error.bin`` (a row an epoch: step, training, validation and test error
in %, smoothed validation error) and ``stat.bin`` (rows of ``error.bin``, steps, epochs
as a fraction, seconds), all headerless float64, little-endian.

The vector is in the order of ``Architecture(...).layout``, so a released one can be
loaded into a :class:`~nwslib.nws.architecture.Net`. Paper and released code count two
things differently: the width of convolutions is the last layer's in the paper's
Table 1 and the first one's, a quarter, in the code; and the code leaves the output
layer out of ``depth_fc``. A table may hold either: ``weightn_conv`` and
``weightn_fc`` decide, for no two readings give the same numbers.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from itertools import product
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from nwslib import _files
from nwslib.checkpoints import Rejected
from nwslib.checkpoints.refusal import Refused, quoted, why
from nwslib.flatten import Layout
from nwslib.foreign.opened import ForeignZoo, check_values, opened, real_folder
from nwslib.foreign.places import inside, number, read_bytes, table, whole
from nwslib.nws import stopping
from nwslib.nws.architecture import Architecture
from nwslib.nws.hyperparameters import HyperParameters

#: Columns of the table, taken by name.
COLUMNS = (
    "path", "dataset", "lrate", "batch_size", "batch_norm", "augmentation",
    "optimizer", "activation", "initialization", "filter_size", "depth_conv",
    "depth_fc", "width_conv", "width_fc", "weightn_conv", "weightn_fc",
)  # fmt: skip
#: What its codes 0, 1, ... stand for.
CODES = {
    "optimizer": ("adam", "rmsprop", "momentum"),
    "activation": ("relu", "elu", "sigmoid", "tanh"),
    "initialization": ("constant", "normal", "glorot_uniform", "glorot_normal"),
}
#: Splits in the order of ``error.bin``'s columns.
SPLITS = ("train", "valid", "test")
#: Checksums of what :func:`nwslib.foreign.write_nws` wrote; released files have none.
SUMS = f"nws{_files.LIST}"
FLOAT = np.dtype("<f8")

_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_MOST_EPOCHS, _MOST_TABLE = 10**5, 2**28  # far beyond the released 1000 and 2 MB


def open_nws(place: str | Path, snapshots: int = 20) -> ForeignZoo:
    """Open runs in the released layout.

    Parameters
    ----------
    place : path
        A table (``.csv``), or the folder of one or several, as the released training
        and test tables are; paths in them are relative to that folder.
    snapshots : int
        Files of weights a run has; the released ones have 20.

    Returns
    -------
    ForeignZoo
        ``runs`` as those of a sampled zoo, and ``table``, the name of the run's
        table. Losses are NaN and seeds missing, since no file tells them. ``stopped``
        is the first of our criteria that the last validation accuracies fulfil, else
        ``limit``.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, ValueError
        If there is no table, one lacks a column, or no run can be read. What is
        wrong with some runs only is in ``rejected``.
    """
    place = Path(place)
    folder = place.parent if place.is_file() else place
    root = real_folder(folder)
    tables = [place] if place.is_file() else sorted(folder.glob("*.csv"))
    if not tables:
        raise FileNotFoundError(
            f"no table (.csv) in {folder}: put the released table beside the runs' "
            "folders."
        )
    source = _Source(root, folder / SUMS)
    listed = [
        (file.stem, row)
        for file in tables
        for row in _read_table(source, file).to_dict("records")
    ]
    names = [row["path"] for _, row in listed]
    rows, rejected, seen = [], [], set()
    for run, (stem, row) in enumerate(listed):
        try:
            if row["path"] in seen:
                raise Refused("it is listed twice: delete one of the rows.")
            seen.add(row["path"])
            rows.append(
                {"run": run, "seed": None, "table": stem} | _run(source, row, snapshots)
            )
        except Exception as error:  # a foreign file: anything can be wrong with it
            rejected.append(Rejected(row["path"], why(error)))
    return opened(
        "nws",
        folder,
        {row["layout"]: counted(architecture_of(row))[0] for row in rows},
        rows,
        rejected,
        names,
        weights=lambda row, wanted: _read_weights(source, row, wanted),
        history=lambda row: _read_history(source, row),
    )


class _Source:
    """The folder of a table, and checksums of the files in it, if it has any."""

    def __init__(self, root: str, sums: Path) -> None:
        self.root = root
        self._sums = _files.read_list(sums) if sums.is_file() else {}

    def folder(self, path: str) -> str:
        """A run's real folder."""
        return inside(self.root, path, folder=True)

    def read(self, path: str, file: str, most: int) -> bytes:
        """A run's file of at most so many bytes; Refused if its checksum differs."""
        data = read_bytes(self.folder(path), file, most)
        name = (PurePath(path) / file).as_posix()
        if self._sums and hashlib.sha256(data).hexdigest() != self._sums.get(name):
            raise Refused(f"{file} is not as {SUMS} says: copy it again.")
        return data


def _read_table(source: _Source, file: Path) -> pd.DataFrame:
    try:
        data = source.read("", file.name, _MOST_TABLE)
    except Refused as error:
        raise ValueError(f"cannot read {file}: {error}") from error
    return table(file, data, COLUMNS)


def _run(source: _Source, given: dict[str, str], snapshots: int) -> dict:
    """A row of our table for one of theirs; its files' sizes are checked."""
    if not given["path"]:
        raise Refused("its row has no path: correct the table.")
    chosen = _hyper_parameters(given)
    architecture = chosen.architecture
    layout, n_conv = counted(architecture)
    folder = source.folder(given["path"])
    for k in range(snapshots):
        _check_size(folder, weights_file(k), layout.size)
    if os.path.lexists(os.path.join(folder, weights_file(snapshots))):
        raise Refused(
            f"it has more than {snapshots} files of weights: open it with the number "
            "that it has (snapshots=)."
        )
    errors, steps, seconds = _read_errors(source, given["path"])
    epochs = len(errors) - 1
    if epochs + 1 < snapshots:
        raise Refused(
            f"error.bin has {epochs + 1} rows for {snapshots} snapshots: copy it again."
        )
    accuracy = _accuracy(errors)
    return (
        {"path": given["path"], "layout": architecture.name}
        | chosen.row()
        | {
            "n_weights": layout.size,
            "n_conv_weights": n_conv,
            "epochs": epochs,
            "steps": steps,
            "stopped": stopping.reason_to_stop(accuracy[:, 1]) or "limit",
            "seconds": seconds,
            "kept_epochs": " ".join(map(str, stopping.kept_epochs(epochs, snapshots))),
        }
        | {f"{split}_accuracy": accuracy[-1, k] for k, split in enumerate(SPLITS)}
        | {f"{split}_loss": float("nan") for split in SPLITS}
    )


def _hyper_parameters(row: dict[str, str]) -> HyperParameters:
    """Their values and codes in our words."""
    flags = {}
    for name in ("batch_norm", "augmentation"):
        flags[name] = _FLAGS.get(row[name].strip().lower())
        if flags[name] is None:
            raise Refused(
                f"its {name} is {quoted(row[name])}, not True, False, 1 or 0: correct "
                "the table."
            )
    words = {}
    for name, known in CODES.items():
        code = whole(row, name)
        if code not in range(len(known)):
            raise Refused(
                f"its {name} is {code}, not a code from 0 to {len(known) - 1}: correct "
                "the table."
            )
        words[name] = known[code]
    lr, batch_size = number(row, "lrate"), whole(row, "batch_size")
    architecture = _fitting_architecture(row, flags["batch_norm"])
    try:
        return HyperParameters(
            row["dataset"],
            lr,
            batch_size,
            flags["augmentation"],
            words["optimizer"],
            words["activation"],
            words["initialization"],
            architecture,
        )
    except ValueError as error:
        raise Refused(str(error)) from error


def _fitting_architecture(row: dict[str, str], batch_norm: bool) -> Architecture:
    """The reading of widths and depths that gives the numbers of weights."""
    given = {name: whole(row, name) for name in COLUMNS[9:]}
    wanted = (given["weightn_conv"], given["weightn_fc"])
    found = []
    for widening, output_layer in product((4, 1), (1, 0)):
        try:
            architecture = Architecture(
                given["filter_size"],
                given["depth_conv"],
                given["depth_fc"] + output_layer,
                given["width_conv"] * widening,
                given["width_fc"],
                batch_norm,
            )
        except ValueError:
            continue  # not of the family, read that way
        layout, n_conv = counted(architecture)
        if (n_conv, layout.size - n_conv) == wanted:
            return architecture
        found.append(f"{n_conv} and {layout.size - n_conv}")
    raise Refused(
        f"its weightn_conv and weightn_fc are {wanted[0]} and {wanted[1]}, but its "
        f"widths and depths give {' or '.join(found) or 'no net of the family'}: "
        "correct the table."
    )


@cache
def counted(architecture: Architecture) -> tuple[Layout, int]:
    """Layout of an architecture, and how many weights its convolutions have."""
    return architecture.layout, architecture.n_conv_weights


def architecture_of(row: dict) -> Architecture:
    """Architecture of a row of our own table."""
    return Architecture(
        int(row["filter_size"]),
        int(row["conv_layers"]),
        int(row["fc_layers"]),
        int(row["conv_width"]),
        int(row["fc_width"]),
        bool(row["batch_norm"]),
    )


def weights_file(k: int) -> str:
    """Where a run's snapshot ``k``, from 0 on, is in its folder."""
    return f"weights/{k + 1:03d}.bin"


def _check_size(root: str, path: str, n_weights: int) -> None:
    size = os.path.getsize(inside(root, path))
    if size != FLOAT.itemsize * n_weights:
        raise Refused(
            f"{path} holds {size} bytes, not the {FLOAT.itemsize * n_weights} of "
            f"{n_weights} weights: copy it again."
        )


def _read_errors(source: _Source, run: str) -> tuple[np.ndarray, int, float]:
    """Errors in % [epochs + 1, train, valid, test], steps, seconds."""
    data = source.read(run, "error.bin", _MOST_EPOCHS * 5 * FLOAT.itemsize)
    if not data or len(data) % (5 * FLOAT.itemsize):
        raise Refused(
            f"error.bin holds {len(data)} bytes, no whole rows of 5 float64: copy it "
            "again."
        )
    errors = np.frombuffer(data, FLOAT).reshape(-1, 5)[:, 1:4]
    check_values(errors, 0, 100, "error.bin")
    data = source.read(run, "stat.bin", 2**20)
    if len(data) != 4 * FLOAT.itemsize:
        raise Refused(
            f"stat.bin holds {len(data)} bytes, not 4 float64: copy it again."
        )
    stat = np.frombuffer(data, FLOAT)
    check_values(stat, 0, 2.0**53, "stat.bin")
    if stat[0] != len(errors):
        raise Refused(
            f"stat.bin tells of {stat[0]:g} epochs and error.bin has {len(errors)} "
            "rows: copy both again."
        )
    return errors, int(stat[1]), float(stat[3])


def _accuracy(errors: np.ndarray) -> np.ndarray:
    return 1 - errors / 100


def _read_weights(source: _Source, row: dict, wanted: slice) -> np.ndarray:
    places = range(wanted.start, wanted.stop)
    out = np.empty((len(places), row["n_weights"]))
    for place, k in enumerate(places):
        # Read, not mapped: a file cut short while it is mapped ends the process.
        _check_size(source.folder(row["path"]), weights_file(k), row["n_weights"])
        most = FLOAT.itemsize * row["n_weights"]
        data = source.read(row["path"], weights_file(k), most)
        out[place] = np.frombuffer(data, FLOAT)
    return out


def _read_history(source: _Source, row: dict) -> pd.DataFrame:
    accuracy = _accuracy(_read_errors(source, row["path"])[0])
    return pd.DataFrame(
        {
            "run": row["run"],
            "epoch": np.repeat(np.arange(len(accuracy)), len(SPLITS)),
            "split": SPLITS * len(accuracy),
            "accuracy": accuracy.ravel(),  # [epochs + 1, splits] -> rows
            "loss": float("nan"),
        }
    )
