"""The PDF of the built book."""

from __future__ import annotations

from pathlib import Path

import pypdf
import pytest
import yaml

import pdf
import pipeline

ROOT = Path(__file__).parents[2]
BOOK = pipeline.Book(ROOT)
NAMES = list(pipeline.toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))))


def titles(outline):
    """Every title of an outline, and the level it stands on."""
    for entry in outline:
        if isinstance(entry, list):
            yield from ((level + 1, title) for level, title in titles(entry))
        else:
            yield 1, entry.title


@pytest.fixture(scope="module")
def printed(chromium, book, tmp_path_factory):
    """A PDF of the first three pages and the bibliography."""
    out = tmp_path_factory.mktemp("pdf") / "book.pdf"
    names = [*NAMES[:3], "book/bibliography"]
    pdf.print_pages(chromium, BOOK.output / "html", names, "A title", out)
    return pypdf.PdfReader(out)


def test_outline_names_pages_and_sections(printed):
    found = list(titles(printed.outline))
    chapters = [title for level, title in found if level == 1]
    assert len(chapters) == 4
    assert chapters[1:] == [
        "What is a weight space",
        "Growing two zoos",
        "Bibliography",
    ]
    assert (2, "Two nets at one distance") in found
    assert printed.metadata.title == "A title"


def test_links_stay_within_or_lead_to_the_world(printed):
    within = 0
    for page in printed.pages:
        for link in page.get("/Annots") or []:
            action = link.get_object().get("/A")
            address = action.get_object().get("/URI") if action else None
            within += address is None
            assert address is None or "127.0.0.1" not in address
    assert within > 10


def test_text_and_numbers_of_pages(printed):
    texts = [page.extract_text() for page in printed.pages]
    assert len(texts) > 10
    for number, text in enumerate(texts, start=1):
        assert text.split()[-1] == str(number) or text.split()[0] == str(number)
    assert "def expected_distance" in "".join(texts)


def test_a_page_that_is_not_built_is_named(chromium, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.html is not there: run 'make"):
        pdf.print_pages(
            chromium, tmp_path, ["absent"], "A title", tmp_path / "book.pdf"
        )
