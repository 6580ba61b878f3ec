"""A browser for the tests of this folder, and the book's pages in it.

``make test-browser`` runs them; without ``NWSLIB_BROWSER``, which names a chromium,
none of them is collected.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import browser
import pipeline

if "NWSLIB_BROWSER" not in os.environ:
    collect_ignore_glob = ["test_*.py"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def chromium():
    with browser.launch() as started:
        yield started


@pytest.fixture
def visit(chromium):
    """Open an address; afterwards, nothing failed and nothing came from elsewhere."""
    contexts, wrong = [], []

    def open_address(address, **options):
        options = {"viewport": {"width": 1280, "height": 900}} | options
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        site = "/".join(address.split("/")[:3]) + "/"
        page.on("console", lambda said: said.type in ("error", "warning")
                and wrong.append(f"console: {said.text}"))  # fmt: skip
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda asked: asked.url.startswith((site, "data:"))
                or wrong.append(f"request: {asked.url}"))  # fmt: skip
        page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def book():
    """Address of the built pages."""
    html = pipeline.Book(ROOT).output / "html"
    if not (html / "index.html").is_file():
        pytest.exit("no pages to test: run 'make book' first", returncode=1)
    with browser.serve(html) as address:
        yield address
