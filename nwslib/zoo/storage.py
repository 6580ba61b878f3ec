"""The files of a zoo: written whole, checksummed, one writer at a time.

What reader and writer share. A file appears as one step (written beside its place,
flushed, renamed); the header ``zoo.json`` names every other file with its size and
sha256, and carries a checksum of itself.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import filelock
import pandas as pd

from nwslib import _files

#: Newest version of the folder's format; readers refuse a newer one. A zoo of several
#: layouts has version 2, all others 1.
FORMAT_VERSION = 2

#: File of the layouts, where there are several.
LAYOUTS = "layouts.json"

Read = TypeVar("Read")

_HEADER = "zoo.json"
_LOCK = ".lock"


def write(path: Path, name: str, data: bytes) -> dict:
    """Put a file in place as one step; return its header entry (bytes, sha256)."""
    _files.put(path / name, data, alone=True)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@contextmanager
def room_needed(path: Path) -> Iterator[None]:
    """Turn a full disk into one sentence; an OSError, as any other failure there."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            f"zoo {path} cannot be written ({os.strerror(error.errno)}): nothing "
            "stored so far is lost; free space and resume."
        ) from error


def write_header(path: Path, header: dict) -> None:
    """Replace the header: the step that makes a zoo's new state the valid one."""
    text = json.dumps(_files.sealed(header), indent=1)
    write(path, _HEADER, text.encode())


def read_header(path: Path) -> dict:
    """Read and check the header.

    Raises
    ------
    FileNotFoundError
        If there is no zoo at ``path``.
    ValueError
        If the header is damaged or of a newer format.
    """
    file = path / _HEADER
    if not file.is_file():
        found = "the folder has no zoo.json" if path.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"no zoo at {path} ({found}): give a folder that holds zoo.json, or start "
            "one with ZooWriter.create."
        )
    try:
        header = json.loads(file.read_bytes())
        format_version = int(header["format_version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"{_HEADER} is truncated or altered") from error
    if format_version > FORMAT_VERSION:
        raise ValueError(
            f"zoo {path} has format version {format_version}, this nwslib reads up to "
            f"version {FORMAT_VERSION}: upgrade nwslib, unless {_HEADER} was altered."
        )
    if header.pop(_files.SEAL, None) != _files.digest(header):
        raise damaged(path, f"{_HEADER} is altered (sha256 differs)")
    return header


def at_rest(path: Path, read: Callable[[dict], Read]) -> Read:
    """Read by the header, and again if a writer replaced it meanwhile."""
    while True:
        header = read_header(path)
        try:
            return read(header)
        except ValueError:
            if read_header(path) == header:
                raise


def check(path: Path, name: str, entry: dict, *, every_byte: bool) -> str | None:
    """Compare a file with its header entry; what is wrong with it, or None.

    Parameters
    ----------
    path : Path
        The zoo's folder.
    name : str
        The file in it.
    entry : dict
        As returned by :func:`write`.
    every_byte : bool
        Compare the sha256 too, not only the size.
    """
    file = path / name
    if not file.is_file():
        return f"{name} is missing"
    size = file.stat().st_size
    if size != entry["bytes"]:
        word = "truncated" if size < entry["bytes"] else "altered"
        return f"{name} is {word} ({size} bytes instead of {entry['bytes']})"
    if every_byte:
        if _files.sha256_of(file) != entry["sha256"]:
            return f"{name} is altered (sha256 differs)"
    return None


def damaged(path: Path, problem: str) -> ValueError:
    """Name a damaged file in an error ready to be raised."""
    return ValueError(
        f"zoo {path} is damaged: {problem}: restore the file from a copy, or write "
        "the zoo again."
    )


def refuse_occupied(path: Path) -> None:
    """Raise ValueError unless ``path`` is free for a new zoo."""
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"{path} is a file: give the name of a folder for the zoo.")
    if (path / _HEADER).exists():
        raise ValueError(
            f"{path} holds a zoo already: continue it with ZooWriter.resume, or choose "
            "another folder."
        )
    # A writer that was killed before its first header leaves only these.
    own = {_LOCK, "weights", f"{_HEADER}.tmp"}
    if (path / _LOCK).exists():
        own |= {LAYOUTS, f"{LAYOUTS}.tmp"}
    if foreign := sorted({file.name for file in path.iterdir()} - own):
        raise ValueError(
            f"{path} is not empty (it holds '{foreign[0]}'): choose a new or empty "
            "folder for the zoo."
        )


def acquire(path: Path) -> filelock.BaseFileLock:
    """Lock a zoo for writing; the system frees the lock when the process dies."""
    # Not tied to a thread: a writer may be closed by another one than opened it.
    lock = filelock.FileLock(path / _LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(
            f"the file system of zoo {path} has no locks, which keep two writers "
            "apart: choose a folder on another one."
        ) from error
    except filelock.Timeout as error:
        raise ValueError(
            f"another writer is working on zoo {path}: wait until it has finished, or "
            "write to another folder."
        ) from error
    return lock


def read_table(path: Path, header: dict, stem: str) -> pd.DataFrame:
    """Read the ``runs`` or ``history`` table; ValueError if it is damaged."""
    name = header["tables"][stem]
    require(path, header, name)
    # Its bytes: pyarrow does not take every path that the system does.
    return _files.table_of((path / name).read_bytes())


def require(path: Path, header: dict, name: str) -> None:
    """Raise ValueError unless a file is byte for byte what the header says."""
    if problem := check(path, name, header["files"][name], every_byte=True):
        raise damaged(path, problem)
