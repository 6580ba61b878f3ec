"""How far long work has come: a bar for who looks on, lines for who reads a log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

# Seconds between two lines in a log.
_PAUSE = 60
_LINE = "{n_fmt} of {total_fmt} {unit}s, {elapsed} so far, {remaining} left"


def bar(
    total: int,
    unit: str,
    show: bool,
    *,
    initial: int = 0,
    title: str = "",
) -> tqdm:
    """Begin to tell the progress of some work on standard error.

    In a terminal or a notebook it is a bar; elsewhere, in a log file or a batch
    system, it is a line a minute, and none for what takes less.

    Parameters
    ----------
    total : int
        Steps of the work.
    unit : str
        What a step is, singular.
    show : bool
        Without it nothing is told.
    initial : int
        Steps that were done before.
    title : str
        What comes first.
    """
    # tqdm: only where it is used
    from tqdm import tqdm

    given = {"total": total, "initial": initial, "unit": unit, "desc": title or None}
    stream = sys.stderr
    if not show or stream is None:
        return tqdm(disable=True, **given)
    # a notebook's standard error: that ipykernel was imported would not tell
    in_notebook = type(stream).__module__ == "ipykernel.iostream"
    if stream.isatty() or in_notebook:
        return tqdm(**given)
    return tqdm(
        file=_Lines(stream),
        delay=_PAUSE,
        mininterval=_PAUSE,
        miniters=1,
        bar_format=f"{title}{': ' * bool(title)}" + _LINE,
        **given,
    )


class _Lines:
    """A stream that ends lines where tqdm would go back to their beginning."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if text := text.strip():
            self._stream.write(f"{text}\n")

    def flush(self) -> None:
        self._stream.flush()
