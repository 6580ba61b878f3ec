"""The built pages in a browser: where a chromium is, and the pages served to it.

Used by the tests of the pages and by their PDF. Run as a program, it prints where
the chromium is, or what to install.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Programs that are a chromium, in the order in which they are looked for.
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """Path of a chromium: ``NWSLIB_BROWSER``, else the first of `NAMES` on the path.

    Raises
    ------
    FileNotFoundError
        Saying what to install.
    """
    given = os.environ.get("NWSLIB_BROWSER")
    found = filter(None, map(shutil.which, [given] if given else NAMES))
    if path := next(found, None):
        return path
    raise FileNotFoundError(
        f"NWSLIB_BROWSER names no program: {given}"
        if given
        else "no browser was found: install Debian's package chromium, or Google "
        "Chrome, or name a chromium in NWSLIB_BROWSER."
    )


class _Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine alone; yields its address."""
    handler = partial(_Quiet, directory=folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def launch() -> Iterator[Browser]:
    """Start the chromium that :func:`find_browser` finds, without a window."""
    # playwright: only for those who open the pages
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        # Chromium refuses its sandbox to root; it opens our own pages only.
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = started.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox"] * root
        )
        yield browser
        browser.close()


if __name__ == "__main__":
    try:
        print(find_browser())
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
