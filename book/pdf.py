"""Print the built pages, in their order, as one PDF with an outline.

All pages are gathered in one document of the browser, so that links between them
lead on within the PDF, and page numbers run through.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

import browser
import pipeline

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: In ``_build/html``.
NAME = "neural-nets-as-points.pdf"

#: Where ``book/intro.md`` gets its link, in Markdown a comment of HTML.
PLACE = "<!-- the PDF, where it is built -->"
LINK = f'<p>This book <a class="reference download" href="../{NAME}">as a PDF</a>.</p>'

#: Replaces what a document shows by the articles of all pages. Ids get the name of
#: their page before them, and links to pages become links to such ids.
GATHER = """async ([site, names]) => {
    const addresses = names.map(name => `${site}/${name}.html`);
    const slug = k => names[k].replaceAll("/", "-");
    const all = document.createElement("main");
    for (const [k, address] of addresses.entries()) {
        const html = await (await fetch(address)).text();
        const page = new DOMParser().parseFromString(html, "text/html");
        const article = page.querySelector("article.bd-article");
        for (const e of article.querySelectorAll(
            "script, .headerlink, .nws-explorer, .toctree-wrapper.compound[hidden]"))
            e.remove();
        for (const e of article.querySelectorAll("[id]")) e.id = `${slug(k)}--${e.id}`;
        for (const e of article.querySelectorAll("a[href]")) {
            const [target, place] = new URL(e.getAttribute("href"), address).href
                .split("#");
            const n = addresses.indexOf(target);
            if (n >= 0) e.href = "#" + slug(n) + (place ? `--${place}` : "");
            else if (target.startsWith(site)) e.removeAttribute("href");
        }
        for (const e of article.querySelectorAll("img")) {
            e.src = new URL(e.getAttribute("src"), address).href;
            e.loading = "eager";
        }
        const chapter = document.createElement("section");
        chapter.id = slug(k);
        chapter.className = "bd-content pdf-chapter";
        chapter.append(...article.childNodes);
        all.append(chapter);
    }
    all.className = "bd-article";
    document.body.replaceChildren(all);
    if (window.MathJax?.startup) {
        await MathJax.startup.promise;
        await MathJax.typesetPromise();
    }
    await Promise.all([...document.images].map(image => image.decode()));
    await document.fonts.ready;
    return [...document.querySelectorAll("h1, h2, h3, h4, h5, h6, [role=heading]")]
        .map(e => e.textContent.trim());
}"""

FOOTER = (
    '<div style="width: 100%; font: 8px sans-serif; text-align: center">'
    '<span class="pageNumber"></span></div>'
)


def print_pages(
    chromium: Browser, html: Path, names: list[str], title: str, out: Path
) -> None:
    """Print pages as one PDF.

    Parameters
    ----------
    chromium : Browser
        As from :func:`browser.launch`.
    html : Path
        Folder of the built pages.
    names : list of str
        Pages in their order, as in ``_toc.yml``.
    title : str
        Of the document.
    out : Path
        The file to write.

    Raises
    ------
    FileNotFoundError
        If a page has not been built.
    """
    texts = {}
    for name in names:
        path = html / f"{name}.html"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is not there: run 'make book'."
            )
        texts[name] = path.read_text("utf-8")
    # A page with formulas brings what typesets those of the others.
    first = next(
        (name for name in names if "mathjax" in texts[name]), names[0]
    )
    with browser.serve(html) as site:
        page = chromium.new_page(color_scheme="light")
        page.set_default_timeout(300_000)  # ms
        page.goto(f"{site}/{first}.html")
        page.wait_for_load_state("networkidle")
        headings = page.evaluate(GATHER, [site, names])
        page.pdf(
            path=out,
            format="A4",
            scale=0.8,
            margin=dict.fromkeys(
                ("top", "bottom", "left", "right"), "18mm"
            ),
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
        page.close()
    # Chromium writes headings that begin a page twice, and drops spaces.
    writer = PdfWriter(clone_from=out)
    entries = _entries(writer.root_object["/Outlines"])
    for entry, heading in zip(entries, headings, strict=True):
        entry[NameObject("/Title")] = TextStringObject(heading)
    writer.metadata = {"/Title": title}
    writer.write(out)


def _entries(parent: DictionaryObject) -> Iterator[DictionaryObject]:
    """Yield the entries of an outline, in their order."""
    link = parent.get("/First")
    while link is not None:
        entry = link.get_object()
        yield entry
        yield from _entries(entry)
        link = entry.get("/Next")


def main() -> None:
    """Print the book, and link the PDF from its first page."""
    book = pipeline.Book(Path(__file__).resolve().parent.parent)
    toc = yaml.safe_load((book.root / "_toc.yml").read_text("utf-8"))
    config = yaml.safe_load((book.root / "_config.yml").read_text("utf-8"))
    html = book.output / "html"
    # It remarks on a harmless count in what Chromium writes.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    names = list(pipeline.toc_files(toc))
    try:
        with browser.launch() as chromium:
            print_pages(chromium, html, names, config["title"], html / NAME)
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
    intro = html / f"{names[0]}.html"
    intro.write_text(intro.read_text("utf-8").replace(PLACE, LINK), "utf-8")
    print(
        f"printed {html / NAME}: {(html / NAME).stat().st_size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
