"""What every importer gives: a zoo in somebody else's files, opened for reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nwslib.checkpoints import Rejected
from nwslib.checkpoints.refusal import Refused, why
from nwslib.flatten import Layout


class UnreadableRun(ValueError):
    """A run of a foreign zoo that cannot, or must not, be read.

    Attributes
    ----------
    path : str
        The run's name in the foreign zoo.
    reason : str
        What is wrong with it and what to do, without the path.
    """

    def __init__(self, path: str, reason: str):
        super().__init__(f"cannot read run {path!r}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, eq=False)
class ForeignZoo:
    """A foreign zoo; weights stay in its files until asked for, one run at a time.

    Attributes
    ----------
    kind : str
        Its layout on disk, a key of :data:`nwslib.foreign.KINDS`.
    folder : Path
    layouts : dict of str to Layout
        Of its runs, by name.
    runs : DataFrame
        One row a run that can be read: ``run`` (its number there, rejected ones
        counted too), ``path`` (its name there), ``layout``, and under the names that
        sampled zoos use whatever its files tell. ``kept_epochs`` says after which
        epochs the snapshots were taken. A seed that is not told is missing.
    rejected : tuple of Rejected
        Runs with something wrong in their files.
    names : tuple of str
        Names of all runs there, by number.
    """

    kind: str
    folder: Path
    layouts: dict[str, Layout]
    runs: pd.DataFrame
    rejected: tuple[Rejected, ...]
    names: tuple[str, ...]
    _weights: Callable[[dict, slice], np.ndarray]
    _history: Callable[[dict], pd.DataFrame]

    def weights(self, run: int, last: int | None = None) -> np.ndarray:
        """Read a run's path.

        Parameters
        ----------
        run : int
            One of ``runs``.
        last : int, optional
            Only so many of the last snapshots; all by default.

        Returns
        -------
        ndarray, shape [snapshots, layout.size]
            float32 or float64. A net that diverged can have values that are not
            finite.

        Raises
        ------
        UnreadableRun
            For whatever is wrong with its files, and nothing else.
        ValueError
            If there is no such run, or it has fewer snapshots.
        """
        row = self._row(run)
        kept = len(row["kept_epochs"].split())
        if last is not None and not 1 <= last <= kept:
            raise ValueError(
                f"run {run} has {kept} snapshots, not {last}: ask for 1 to {kept}."
            )
        wanted = slice(0 if last is None else kept - last, kept)
        return self._read(row, lambda: self._weights(row, wanted))

    def history(self, run: int) -> pd.DataFrame:
        """Read a run's history: columns run, epoch, split, accuracy, loss.

        Epoch 0 stands for the initial weights. What the files do not tell is NaN.
        Errors as those of :meth:`weights`.
        """
        row = self._row(run)
        return self._read(row, lambda: self._history(row))

    def _row(self, run: int) -> dict:
        found = np.flatnonzero(self.runs["run"] == run)
        if not len(found):
            raise ValueError(
                f"no run {run} to read in {self.folder}: choose one of .runs, and see "
                ".rejected."
            )
        return self.runs.iloc[found[0]].to_dict()

    @staticmethod
    def _read(row: dict, reader: Callable) -> np.ndarray | pd.DataFrame:
        try:
            return reader()
        except Exception as error:  # a foreign file: anything can be wrong with it
            raise UnreadableRun(row["path"], why(error)) from error


def opened(
    kind: str,
    folder: Path,
    layouts: dict[str, Layout],
    rows: list[dict],
    rejected: list[Rejected],
    names: list[str],
    *,
    weights: Callable[[dict, slice], np.ndarray],
    history: Callable[[dict], pd.DataFrame],
) -> ForeignZoo:
    """Put what an importer found together.

    Parameters
    ----------
    rows : list of dict
        Of the runs that can be read, with equal keys.
    weights, history : callable
        Read them, given such a row (and the snapshots that are wanted).

    Raises
    ------
    ValueError
        If there are no runs at all, or all are rejected.
    """
    if not rows:
        raise ValueError(
            f"{folder} holds no run of the kind '{kind}': give its folder."
            if not rejected
            else f"none of the {len(rejected)} runs in {folder} can be read; the "
            f"first, {rejected[0].path!r}: {rejected[0].reason}"
        )
    runs = pd.DataFrame(rows)
    # Whole numbers that some runs do not tell stay whole numbers.
    for column in runs.columns.intersection(["seed", "batch_size"]):
        runs[column] = runs[column].astype("Int64")
    used = set(runs["layout"])
    return ForeignZoo(
        kind,
        folder,
        {name: layout for name, layout in layouts.items() if name in used},
        runs,
        tuple(rejected),
        tuple(names),
        weights,
        history,
    )


def real_folder(folder: str | Path) -> str:
    """The folder's real path; an error in one sentence if it is none."""
    path = Path(folder)
    if not path.exists():
        raise FileNotFoundError(f"no folder {folder}: give the foreign zoo's folder.")
    if not path.is_dir():
        raise NotADirectoryError(f"{folder} is a file: give the foreign zoo's folder.")
    return str(path.resolve())


def check_values(values: np.ndarray, low: float, high: float, what: str) -> None:
    """Refused unless all values are numbers from ``low`` to ``high``."""
    if not ((values >= low) & (values <= high)).all():  # NaN is neither
        raise Refused(
            f"{what} holds values that are not between {low:g} and {high:g}: copy it "
            "again."
        )
