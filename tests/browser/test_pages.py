"""Every page of the built book in a browser: whole, light, reachable for everyone."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml

import pipeline

ROOT = Path(__file__).parents[2]
HTML = pipeline.Book(ROOT).output / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
#: All pages: the book's, and the two that Sphinx adds.
PAGES = [*pipeline.toc_files(TOC), "search", "genindex"]
#: As ``make test-browser`` installs it.
AXE = ROOT / "_build" / "node" / "node_modules" / "axe-core" / "axe.min.js"

every_page = pytest.mark.parametrize("name", PAGES)

#: What a reader meets on a page, asked of its document.
FACTS = """() => {
    const all = selector => [...document.querySelectorAll(selector)];
    return {
        ids: all("[id]").map(e => e.id),
        links: all("a[href]").map(e => e.href),
        parts: all("img, script[src], link[rel=stylesheet], link[rel=icon]")
            .map(e => e.src || e.href),
        images: all("img").map(e => [e.src, e.getAttribute("alt")]),
        figures: all("article figure").map(e =>
            [e.id, e.querySelectorAll("img").length,
             e.querySelector("figcaption")?.textContent.trim() ?? ""]),
        headings: all("h1, h2, h3, h4, h5, h6").filter(e => e.checkVisibility())
            .map(e => [Number(e.tagName[1]), e.textContent]),
        cut: all("pre").filter(e => e.scrollWidth > e.clientWidth)
            .map(e => e.textContent.slice(0, 200)),
    };
}"""


@dataclass(frozen=True)
class Facts:
    """What one page holds.

    Attributes
    ----------
    ids : list of str
        Places that a link can name.
    links : list of str
        Whole addresses.
    parts : list of str
        Addresses of what the page loads.
    images : list of (str, str or None)
        Address and alt text.
    figures : list of (str, int, str)
        Id, images in it, caption.
    headings : list of (int, str)
        Level and words of those that show.
    cut : list of str
        Beginnings of code that is wider than its box, the page being 1280 pixels.
    """

    ids: list[str]
    links: list[str]
    parts: list[str]
    images: list[tuple[str, str | None]]
    figures: list[tuple[str, int, str]]
    headings: list[tuple[int, str]]
    cut: list[str]


@pytest.fixture(scope="session")
def facts(chromium, book):
    """A page's facts, by its name."""

    @cache
    def of(name):
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{book}/{name}.html")
        found = Facts(**page.evaluate(FACTS))
        page.close()
        return found

    return of


def file_of(address: str, book: str) -> Path:
    """The file that is served at an address, whether or not there is one."""
    return HTML / unquote(address.removeprefix(book).split("?")[0].lstrip("/"))


# --- what is on it -----------------------------------------------------------


@every_page
def test_links_lead_somewhere(facts, book, name):
    for address in facts(name).links:
        if not address.startswith(book):
            assert address.startswith(("https://", "mailto:")), address
            continue
        whole, place = urldefrag(address)
        path = file_of(whole, book)
        assert path.is_file(), address
        if place and path.suffix == ".html":
            target = path.relative_to(HTML).with_suffix("").as_posix()
            assert unquote(place) in facts(target).ids, address


@every_page
def test_ids_are_unique(facts, name):
    seen = set()
    assert [i for i in facts(name).ids if i in seen or seen.add(i)] == []


@every_page
def test_images_are_told_in_words(facts, name):
    for address, alt in facts(name).images:
        assert alt and alt.strip(), address
        assert Path(address).name not in alt, f"{address}: its name is no alt text"
        assert len(alt.split()) > 3, f"{address}: {alt}"
    for figure, images, caption in facts(name).figures:
        assert images and caption, figure


@every_page
def test_headings_are_in_order(facts, name):
    headings = facts(name).headings
    levels = [level for level, _ in headings]
    assert levels.count(1) == 1
    assert levels[0] == 1
    for before, (level, words) in zip(levels, headings[1:], strict=False):
        assert level <= before + 1, words


@every_page
def test_no_code_is_cut(facts, name):
    assert facts(name).cut == []


@every_page
def test_weight(facts, book, name):
    """The page and all files that are its own, compressed.

    What lies in ``_static`` and the index of the search come with every page, and a
    browser loads them once.
    """
    common = ("_static", "searchindex.js")
    paths = {file_of(address, book) for address in facts(name).parts}
    own = [path for path in paths if path.relative_to(HTML).parts[0] not in common]
    files = [HTML / f"{name}.html", *own]
    weight = sum(len(gzip.compress(path.read_bytes(), 6)) for path in files)
    print(f"{name}: {weight / 1e6:.2f} MB in {len(files)} files")
    assert weight < 1.5e6


# --- for everyone ------------------------------------------------------------


def grave(page):
    """What axe calls serious or critical."""
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert result["passes"]  # it did look
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['failureSummary']}"
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@every_page
def test_opens_for_everyone(visit, book, name):
    """No error, no request elsewhere, and nothing in the way in either theme."""
    page = visit(f"{book}/{name}.html", color_scheme="light")
    page.wait_for_load_state("networkidle")
    page.add_script_tag(path=AXE)
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "light"
    assert grave(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{theme} == 'dark'")
    page.wait_for_timeout(500)  # colours change smoothly
    assert grave(page) == []


@every_page
def test_nothing_overflows_on_a_phone(visit, book, name):
    page = visit(
        f"{book}/{name}.html", viewport={"width": 390, "height": 844},
        is_mobile=True, has_touch=True, device_scale_factor=3,
    )  # fmt: skip
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.body.scrollWidth") <= 390
    assert page.evaluate("visualViewport.scale") == 1
