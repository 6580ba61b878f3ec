"""Why a checkpoint is not read, in one sentence."""

from __future__ import annotations

import errno
import os


class Refused(Exception):
    """The sentence alone; :func:`nwslib.checkpoints.read` adds the path."""


class UnreadableCheckpoint(ValueError):
    """A checkpoint that cannot, or must not, be read.

    Attributes
    ----------
    path : str
        As it was given to :func:`nwslib.checkpoints.read`.
    reason : str
        What is wrong with it and what to do, without the path.
    """

    def __init__(self, path: str, reason: str):
        super().__init__(f"cannot read checkpoint {path!r}: {reason}")
        self.path = path
        self.reason = reason


def why(error: Exception) -> str:
    """Say what an error means for the file that it came from."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "it is not there, or is a link to nothing: copy it again."
    # Damaged archives make the libraries seek to places that there are none; only an
    # error about a path, which has a filename, is one of access.
    if isinstance(error, OSError) and error.filename is not None:
        if error.errno == errno.ELOOP:
            return "it is a link in a circle: copy the file itself."
        return f"it cannot be opened ({os.strerror(error.errno)}): give access to it."
    if isinstance(error, MemoryError):
        return "it needs more memory than there is: read it where there is more."
    said = first_line(f"{type(error).__name__}: {error}")
    return f"it is damaged ({said}): copy or save it again."


def first_line(said: str, limit: int = 120) -> str:
    """Beginning of what a library says; torch appends pages, and quotes the file."""
    line = next(iter(said.splitlines()), "").strip()
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= limit else f"{line[:limit]}..."


def quoted(foreign: object, limit: int = 80) -> str:
    """Foreign text for a sentence: quoted, on one line, cut when it is long."""
    text = repr(foreign)
    return text if len(text) <= limit else f"{text[:limit]}..."
