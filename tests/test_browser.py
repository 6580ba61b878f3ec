"""Where a browser is found, and what it is served."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

import browser


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A path that holds the programs one names, and no others."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("NWSLIB_BROWSER", raising=False)

    def install(*names: str) -> list[str]:
        for name in names:
            (tmp_path / name).write_text("")
            (tmp_path / name).chmod(0o755)
        return [str(tmp_path / name) for name in names]

    return install


def test_the_first_browser_on_the_path(programs) -> None:
    google, chromium = programs("google-chrome", "chromium")
    assert browser.find_browser() == chromium
    Path(chromium).unlink()
    assert browser.find_browser() == google


def test_a_given_browser_comes_first(programs, monkeypatch) -> None:
    _, mine = programs("chromium", "mine")
    monkeypatch.setenv("NWSLIB_BROWSER", mine)
    assert browser.find_browser() == mine


def test_no_browser_says_what_to_install(programs) -> None:
    with pytest.raises(FileNotFoundError, match="install Debian's package chromium"):
        browser.find_browser()


def test_a_given_browser_that_is_none_is_named(programs, monkeypatch) -> None:
    programs("chromium")
    monkeypatch.setenv("NWSLIB_BROWSER", "absent")
    with pytest.raises(FileNotFoundError, match="NWSLIB_BROWSER names no program: abs"):
        browser.find_browser()


def test_a_folder_is_served_to_this_machine(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page.html").write_text("here")
    (tmp_path / "secret").write_text("not here")
    with browser.serve(tmp_path / "site") as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/page.html") as answer:
            assert answer.read() == b"here"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{address}/../secret")
        caught.value.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)
