"""Progress on standard error: in a terminal, in a log, and where there is none."""

from __future__ import annotations

import io
import sys

import nbclient
import nbformat
import pytest

from nwslib import _bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def told(monkeypatch):
    """What is told of eight runs, two of them done before, on a stream."""

    def tell(stream: io.StringIO | None, **given) -> str:
        monkeypatch.setattr(sys, "stderr", stream)
        with _bars.bar(8, "run", given.pop("show", True), initial=2, **given) as bar:
            for _ in range(6):
                bar.update()
        return stream.getvalue() if stream else ""

    return tell


def test_a_terminal_has_a_bar_on_one_line(told) -> None:
    text = told(Terminal())
    assert text.count("\n") == 1 and text.endswith("\n")
    assert "8/8" in text.split("\r")[-1]


def test_a_log_has_lines(told, eager_log) -> None:
    lines = told(io.StringIO(), title="sampling").splitlines()
    assert lines[0].startswith("sampling: 2 of 8 runs, 00:00 so far")
    assert lines[-1].startswith("sampling: 8 of 8 runs")
    assert not any("\r" in line or "|" in line for line in lines)


def test_a_log_says_nothing_of_short_work(told) -> None:
    assert told(io.StringIO()) == ""


@pytest.mark.parametrize("stream", [None, Terminal()], ids=["no stream", "not shown"])
def test_nothing_is_told(told, stream) -> None:
    assert told(stream, show=stream is None) == ""


def test_a_notebook_has_a_bar() -> None:
    cell = nbformat.v4.new_code_cell(
        "from nwslib import _bars\n"
        "with _bars.bar(2, 'run', True) as bar:\n"
        "    bar.update(2)"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    text = "".join(output["text"] for output in notebook.cells[0].outputs)
    assert "2/2" in text and "\r" in text


def test_a_log_is_none_the_less_a_log_where_ipykernel_was_imported(
    told, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert told(io.StringIO()) == ""
