"""Files that appear whole, and checksums that tell a damaged one.

Disks, copies and people change bytes. What the library writes can be held against a
checksum, which stands in the file itself where its format has a place for one, and in
a list beside it, as ``sha256sum --check`` reads them, where it has none.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import secrets
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

#: Name of a JSON file's own checksum in it.
SEAL = "sha256"
#: What the name of a list of checksums ends with.
LIST = ".sha256"


def put(target: Path, data: bytes, *, alone: bool = False) -> None:
    """Put a file in place as one step: written beside it, flushed, renamed.

    Parameters
    ----------
    target : Path
    data : bytes
    alone : bool
        Whether a lock keeps others from writing it. Then what a killed process left
        beside it has a name that is known, and is overwritten by the next one.

    Raises
    ------
    OSError
        If it cannot be written; what was there before stays.
    """
    own = "" if alone else f".{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f"{target.name}{own}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except (Exception, KeyboardInterrupt):
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # so that the rename itself is on the disk
        finally:
            os.close(folder)


def sha256_of(file: Path) -> str:
    """Checksum of a file of any size."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- a checksum in the file itself


def digest(content: Mapping) -> str:
    """Sha256 of plain JSON values, however they are laid out in a file."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sealed(content: Mapping) -> dict:
    """Plain JSON values with their checksum as one more entry."""
    return {**content, SEAL: digest(content)}


def load_torch(path: Path, device: object = "cpu") -> object:
    """Read what ``torch.save`` wrote, without running anything in it.

    Torch writes a checksum for each part of the file but compares none.

    Raises
    ------
    ValueError
        If it is damaged, or holds more than tensors and plain values.
    OSError
        If it cannot be read.
    """
    import torch

    stored = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(stored) as archive:
            if broken := archive.testzip():
                raise ValueError(f"the checksum of {broken} differs")
        stored.seek(0)
        return torch.load(stored, map_location=device, weights_only=True)
    except Exception as error:  # anything can be wrong with a damaged file
        raise ValueError(
            f"{path} is damaged: restore it from a copy, or delete it to begin anew."
        ) from error


# --- tables


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8, its floats with all their digits.

    What pandas writes by itself follows numpy's print options, which any library may
    have set for the whole process (``legacy="1.13"`` cuts at 12 digits).
    """
    text = table.to_csv(
        index=False, lineterminator="\n", float_format=lambda value: repr(float(value))
    )
    return text.encode()


def table_of(parquet: bytes) -> pd.DataFrame:
    """Table of a parquet file's bytes, read on this thread alone.

    What pandas reads by itself, pyarrow reads with threads of its own, and a Python
    that ends soon after may find one of them still at work and abort (once in 2,000
    times, measured; apache/arrow issue 34314).
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with ParquetFile(pa.BufferReader(parquet)) as file:
        return file.read(use_threads=False).to_pandas(use_threads=False)


# --- a list of checksums


def list_of(files: Mapping[str, bytes]) -> bytes:
    """Checksums (sha256) of contents by name, as ``sha256sum`` lists them."""
    lines = [
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()
    ]
    return "".join(lines).encode()


def read_list(path: Path) -> dict[str, str]:
    """Read a list of checksums; ValueError if a line of it is none."""
    found = {}
    try:
        for line in path.read_bytes().decode().splitlines():
            number, name = line.split("  ", 1)
            if len(bytes.fromhex(number)) != 32:
                raise ValueError("no sha256")
            found[name] = number
    except ValueError as error:
        raise ValueError(
            f"{path} is no list of checksums: restore it from a copy, or delete it to "
            "do without."
        ) from error
    return found


def differing(folder: Path) -> list[str]:
    """Compare every byte of files with the lists of checksums in their folder.

    Returns
    -------
    list of str
        One line for each missing, altered or unlisted file, and unreadable list.

    Raises
    ------
    FileNotFoundError
        If there is no list.
    """
    lists = sorted(folder.glob(f"*{LIST}"))
    if not lists:
        raise FileNotFoundError(
            f"nothing to verify in {folder}: give a zoo, or a folder with a list of "
            f"checksums (*{LIST})."
        )
    found = []
    for each in lists:
        try:
            wanted = read_list(each)
        except ValueError as error:
            found.append(str(error))
            continue
        for name, number in wanted.items():
            file = folder / name
            if not file.is_file():
                found.append(f"{name} is missing (listed in {each.name})")
            elif sha256_of(file) != number:
                found.append(f"{name} is altered (not as in {each.name})")
        # A list that was cut short leaves out what it was written for.
        for file in sorted(folder.glob(f"{glob.escape(each.stem)}.*")):
            if file.name not in wanted and file.suffix not in (LIST, ".tmp"):
                found.append(f"{file.name} is not listed in {each.name}")
    return found
