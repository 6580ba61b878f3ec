"""The monitor's log: a JSON object a line, only ever appended to.

Every line names its run. A run's first line describes it (``layers``, ``rules``, ...),
each later one is an observation (``step``), and where a run went on from a saved state
a line says from which step (``at``). Nothing is rewritten: what a killed process had
logged after its last checkpoint stays in the file, and :func:`.read_log` leaves it out.

Every line ends with its checksum, ``crc``: a line that was damaged is left out, not
read wrongly. Logs that earlier versions began have lines without.

An observation takes at most 470 bytes, 15 for each layer and kind, and 250 for an
alarm; a million steps of a net with 50 layers, observed every 100, make about 11 MB.
"""

from __future__ import annotations

import json
import logging
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from nwslib.trajectory import Position

if TYPE_CHECKING:
    import pandas as pd

#: Version of the lines; readers refuse a newer one.
FORMAT_VERSION = 1

_LOGGER = logging.getLogger("nwslib")


class LogFile:
    """Append lines to a log; a disk that is full does not stop the training.

    The file is opened for each line: processes forked in between, such as those of a
    ``DataLoader``, inherit no open file.

    Parameters
    ----------
    path : Path
    layout : str
        Digest of the layout that is logged.

    Raises
    ------
    ValueError
        If the file cannot be written, is no log, or is one of another net.
    """

    def __init__(self, path: Path, layout: str) -> None:
        self._path = path = path.absolute()  # wherever the training goes
        self._failed = False
        try:
            with open(path, "a+b") as file:  # does not cut what is there
                file.seek(0)
                first = file.readline()
                file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
                last = file.read(1)
        except OSError as error:
            raise ValueError(
                f"log {path} cannot be written ({error.strerror}): give the name of a "
                "file in a folder that exists."
            ) from error
        if first and _header(path, first)["layout"] != layout:
            raise ValueError(
                f"log {path} is of a net with another layout: choose another file."
            )
        # a line that a killed process left unfinished must not swallow the next one
        self._torn = last not in (b"", b"\n")

    def write(self, entry: Mapping[str, object]) -> None:
        """Append a line; a failure is reported to the logger "nwslib", once."""
        line = _signed(json.dumps(_plain(entry), allow_nan=False)) + "\n"
        try:
            with open(self._path, "ab") as file:
                file.write((b"\n" if self._torn else b"") + line.encode())
            self._torn = False
        except OSError as error:
            self._torn = True
            if not self._failed:
                self._failed = True
                _LOGGER.warning(
                    "log %s cannot be written (%s): the training goes on, "
                    "observations are missing from the file.",
                    self._path,
                    error.strerror,
                )


def read_log(path: str | Path) -> pd.DataFrame:
    """Read a log back.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    DataFrame
        A row an observation:

        - ``run`` counts the monitors that began in this file; one that went on from a
          saved state is the same run, and what it repeated stands here once;
        - ``step``, training steps so far;
        - the whole net's :class:`~nwslib.trajectory.Position`, its ``step`` as
          ``length``; NaN where a weight was not finite;
        - ``layer:NAME`` and ``kind:NAME``, lengths of their steps;
        - ``alarms``, names of those raised, separated by commas.

        Lines that cannot be read, such as the last one of a killed process, are left
        out; ``attrs["unreadable"]`` is their number, which the logger "nwslib" tells
        too.

    Raises
    ------
    ValueError
        If the file is no log, or of a newer version.
    """
    import pandas as pd

    path = Path(path)
    lines = path.read_bytes().splitlines()
    header = _header(path, lines[0] if lines else b"")
    names = [f"layer:{name}" for name in header["layers"]]
    names += [f"kind:{name}" for name in header["kinds"]]
    runs: dict[str, list[dict]] = {}
    unreadable = 0
    for line in lines:
        try:
            _take(_entry(line, signed="crc" in header), names, runs)
        except (ValueError, KeyError, TypeError, AttributeError):
            unreadable += bool(line.strip())
    if unreadable:
        _LOGGER.warning(
            "log %s has lines that cannot be read (%d): they are left out.",
            path,
            unreadable,
        )
    rows = [{"run": i} | row for i, rows in enumerate(runs.values()) for row in rows]
    _, *rest = (field.name for field in fields(Position))
    numbers = ["length", *rest, *names]
    frame = pd.DataFrame(rows, columns=["run", "step", *numbers, "alarms"])
    frame[numbers] = frame[numbers].astype(float)  # null is NaN
    frame.attrs["unreadable"] = unreadable
    return frame


def _take(entry: dict, names: list[str], runs: dict[str, list[dict]]) -> None:
    """Add what a line says to the rows of its run."""
    run = entry["run"]
    if "at" in entry:
        runs.pop(entry["resumed"], None)  # begun before the state was loaded
        before = runs.get(run, [])  # none if that was another file
        runs[run] = [row for row in before if row["step"] <= entry["at"]]
    elif "step" in entry:
        whole = entry["whole"]  # empty if not finite, and so are the others
        lengths = entry["layers"] + entry["kinds"]
        row = (
            whole
            | dict(zip(names, lengths, strict=bool(lengths)))
            | {"step": entry["step"], "length": whole.get("step")}
            | {"alarms": ",".join(alarm["name"] for alarm in entry["alarms"])}
        )
        runs.setdefault(run, []).append(row)
    else:
        runs.setdefault(run, [])


def _signed(line: str) -> str:
    """A JSON object's text with its checksum as the last entry."""
    return f'{line[:-1]}, "crc": "{zlib.crc32(line.encode()):08x}"}}'


def _entry(line: bytes, *, signed: bool = False) -> dict:
    """A line's entry; ValueError if it is none, or not what was written.

    In a log that was begun with checksums every line has to have one (``signed``).
    """
    entry, text = json.loads(line), line.decode().rstrip("\n")
    unsigned = text[: -len(', "crc": "00000000"}')] + "}"
    if (signed or "crc" in entry) and text != _signed(unsigned):
        raise ValueError("the checksum differs")
    return entry


def _header(path: Path, line: bytes) -> dict:
    """First line of a log; ValueError if it is none."""
    try:
        header = _entry(line)
        version = header["format"]
        complete = {"run", "layout", "layers", "kinds"} <= header.keys()
    except (ValueError, KeyError, TypeError, AttributeError):
        version = complete = None
    if not complete:
        raise ValueError(
            f"{path} is not a log of a TrajectoryMonitor, or its first line is "
            "damaged: give the name of one, or of a file that does not exist yet."
        )
    if version > FORMAT_VERSION:
        raise ValueError(
            f"log {path} has format version {version}, this nwslib reads up to "
            f"version {FORMAT_VERSION}: upgrade nwslib."
        )
    return header


def _plain(value: object) -> object:
    """Numbers to seven digits, as a float32 has them; null for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
