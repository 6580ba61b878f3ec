"""The book's chapters, its pipeline, and its pages where they are built."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest
import yaml

import pipeline
import reference
from pipeline import Book

ROOT = Path(__file__).parent.parent
BOOK = Book(ROOT)
PAGES = sorted((ROOT / "_build" / "html").rglob("*.html"))
EXECUTED = sorted((ROOT / "_build" / "executed" / "book").glob("*.ipynb"))

#: Packages of the extras bench, dask and test, and such as callbacks are for.
OPTIONAL = {"jax", "fastcluster", "dask", "distributed", "lightning", "transformers"}
#: Public modules of nwslib, as the reference names them.
MODULES = re.findall(
    r"automodule:: (\S+)", "".join(map(str, reference.pages(ROOT).values()))
)

needs_pages = pytest.mark.skipif(not PAGES, reason="run 'make book' first")
needs_executed = pytest.mark.skipif(not EXECUTED, reason="run 'make book' first")


def by_name(path: Path) -> str:
    return path.stem


# --- the chapters ---------------------------------------------------------


def test_notebooks_sources_and_contents_agree() -> None:
    pipeline.check(BOOK)


def test_every_entry_of_the_contents_is_a_page() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    names = list(pipeline.toc_files(toc))
    assert len(names) > 4
    for name in names:
        kinds = [(ROOT / name).with_suffix(suffix) for suffix in (".ipynb", ".md")]
        assert sum(path.is_file() for path in kinds) == 1, name


@pytest.mark.parametrize("chapter", BOOK.sources, ids=by_name)
def test_code_fits_the_page(chapter: Path) -> None:
    for cell in pipeline.code_cells(pipeline.notebook_of(chapter)):
        for line in cell.source.splitlines():
            assert len(line) <= 76, line


@pytest.mark.parametrize("chapter", BOOK.sources, ids=by_name)
def test_the_text_refers_to_every_figure(chapter: Path) -> None:
    source = chapter.read_text("utf-8")
    figures = re.findall(r'"name": "(fig-[\w-]+)"', source)
    missing = [name for name in figures if f"{{numref}}`{name}`" not in source]
    assert missing == []


@pytest.mark.parametrize("chapter", BOOK.sources, ids=by_name)
def test_chapters_share_their_first_parameters(chapter: Path) -> None:
    parameters = papermill.inspect_notebook(pipeline.notebook_of(chapter))
    first = ["profile", "seed", "device", "data_dir", "out_dir"]
    assert list(parameters)[:5] == first
    assert parameters["profile"]["default"] == f'"{pipeline.DEFAULT_PROFILE}"'
    for name, parameter in parameters.items():
        assert parameter["help"], f"{name} has no comment"


def has_figure_texts(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell gives its figure alt text, a caption and a name."""
    display = cell.metadata.get("mystnb", {})
    image, figure = display.get("image", {}), display.get("figure", {})
    return all([image.get("alt"), figure.get("caption"), figure.get("name")])


@needs_executed
@pytest.mark.parametrize("path", EXECUTED, ids=by_name)
def test_outputs_work_offline_and_for_everyone(path: Path) -> None:
    for cell in pipeline.code_cells(nbformat.read(path, as_version=4)):
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        assert not any("widget" in kind or "javascript" in kind for kind in kinds)
        if any(kind.startswith("image/") for kind in kinds):
            assert has_figure_texts(cell), cell.source


# --- the pages ------------------------------------------------------------


class ExternalParts(HTMLParser):
    """Collects what a page loads from elsewhere (links to click are fine)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loads = [given.get("src")]
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            loads.append(given.get("href"))
        for address in loads:
            if address and re.match(r"(\w+:)?//", address):
                self.found.append(address)


def external_parts(html: str) -> list[str]:
    parser = ExternalParts()
    parser.feed(html)
    return parser.found


@pytest.mark.parametrize(
    "html",
    [
        '<script async src="https://elsewhere.org/a.js"></script>',
        '<link rel="stylesheet" href="//elsewhere.org/a.css">',
        '<img src="http://elsewhere.org/a.png">',
    ],
)
def test_external_parts_are_found(html: str) -> None:
    assert len(external_parts(html)) == 1
    assert not external_parts(html.replace("elsewhere.org", "").replace("//", ""))
    assert not external_parts('<a href="https://elsewhere.org">there</a>')


@needs_pages
@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_pages_load_nothing_from_elsewhere(page: Path) -> None:
    assert external_parts(page.read_text("utf-8")) == []


@needs_pages
def test_styles_load_nothing_from_elsewhere() -> None:
    styles = list((ROOT / "_build" / "html" / "_static").rglob("*.css"))
    assert styles
    for path in styles:
        text = path.read_text("utf-8")
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", text), path


# --- the pipeline ---------------------------------------------------------

ONE = """\
# %% [markdown]
# # One
#
# Some prose.

# %% tags=["parameters"]
profile: str = "quick"  # sizes

# %%
print("profile", profile)

# %%
print("profile", profile)
"""

TWO = ONE.replace("One", "Two") + "\n# %%\n1 / 0\n"


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    """A book of two chapters; the second one fails when it runs."""
    monkeypatch.setattr(reference, "PAGES", {"all": ("All", "lib")})
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "nwslib").mkdir()
    (tmp_path / "nwslib" / "lib.py").write_text("x = 1\n")
    (tmp_path / "book" / "results" / "a.json").write_text("{}")
    (tmp_path / "book" / "01_one.py").write_text(ONE)
    (tmp_path / "book" / "02_two.py").write_text(TWO)
    (tmp_path / "_config.yml").write_text("title: Test\n")
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/01_one\nchapters:\n- file: book/02_two\n"
    )
    book = Book(tmp_path)
    pipeline.pair(book)
    return book


def test_pair_is_reproducible_and_bare(book: Book) -> None:
    path = book.source / "01_one.ipynb"
    before = path.read_bytes()
    path.unlink()
    pipeline.pair(book)
    assert path.read_bytes() == before
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.outputs for cell in pipeline.code_cells(notebook))
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells) == 4


def test_an_edit_changes_the_edited_cell_only(book: Book) -> None:
    path = book.source / "01_one.py"
    before = pipeline.notebook_of(path).cells
    path.write_text(ONE.replace("Some prose", "Better prose"))
    after = pipeline.notebook_of(path).cells
    assert [a == b for a, b in zip(before, after, strict=True)] == [False] + [True] * 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: (b.source / "01_one.py").write_text(TWO), "01_one.ipynb is not"),
        (lambda b: (b.source / "02_two.ipynb").unlink(), "02_two.ipynb is not"),
        (lambda b: (b.source / "02_two.py").unlink(), "02_two.ipynb has no source"),
        (
            lambda b: (b.root / "_toc.yml").write_text("root: book/01_one"),
            "02_two.py is not in _toc.yml",
        ),
        (
            lambda b: (b.source / "reference" / "all.md").write_text("# None"),
            "all.md is not what the list of modules gives",
        ),
        (
            lambda b: (b.root / "nwslib" / "new.py").write_text(""),
            "nwslib.new must exist and stand on one page",
        ),
        (
            lambda b: (b.root / "nwslib" / "lib.py").unlink(),
            "nwslib.lib must exist and stand on one page",
        ),
    ],
)
def test_check_names_what_differs(book: Book, spoil, message: str) -> None:
    pipeline.check(book)
    spoil(book)
    with pytest.raises(ValueError, match=message):
        pipeline.check(book)


def test_the_reference_names_every_module_once(book: Book) -> None:
    package = book.root / "nwslib" / "lib"
    (book.root / "nwslib" / "lib.py").unlink()
    package.mkdir()
    (package / "__init__.py").write_text("__all__ = ['Thing', 'action']\n")
    (package / "_hidden.py").write_text("")
    (package / "things.py").write_text("class Thing: ...\ndef other(): ...\n")
    (package / "action.py").write_text("def action(): ...\n")
    pipeline.pair(book)
    pipeline.check(book)
    page = (book.source / "reference" / "all.md").read_text()
    named = re.findall(r"automodule:: (\S+)", page)
    assert named == ["nwslib.lib", "nwslib.lib.action", "nwslib.lib.things"]
    assert page.count(":exclude-members: Thing\n") == 1  # stands with the package
    assert page.count(":no-index:") == 1  # as the function of the same name
    (package / "late.py").write_text("")
    with pytest.raises(ValueError, match="run 'make pair'"):
        pipeline.check(book)


@needs_pages
def test_the_reference_documents_what_the_library_exports() -> None:
    pages = [path.read_text("utf-8") for path in PAGES if "reference" in path.parts]
    for name in ("nwslib.zoo.Zoo.weights", "nwslib.nws.sample", "nwslib.train.Trained"):
        assert sum(f'id="{name}"' in page for page in pages) == 1, name
    assert not any(str(ROOT) in page for page in pages)  # values of a machine


def test_the_library_imports_without_optional_packages() -> None:
    code = f"""
import importlib, socket, sys
for name in {sorted(OPTIONAL)}:
    sys.modules[name] = None  # its import fails
def refuse(*_): raise OSError("no network")
socket.socket.connect = refuse
for name in {sorted(MODULES)}:
    importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


REPOSITORY = """
repository:
  url: https://github.com/someone/a-book
  branch: main
"""


def test_a_known_repository_brings_a_cell_for_colab(book: Book, ran) -> None:
    config = book.root / "_config.yml"
    config.write_text(config.read_text() + REPOSITORY)
    with pytest.raises(ValueError, match=r"01_one.ipynb is not what its source"):
        pipeline.check(book)
    pipeline.pair(book)
    pipeline.execute(book, "full")
    executed = book.output / "executed" / "book"
    for path in (book.source / "01_one.ipynb", executed / "01_one.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert [cell.id for cell in cells].index("colab") == 1
        assert cells[1].metadata["tags"] == ["remove-cell"]
        assert "clone --quiet --depth 1 --branch main https://git" in cells[1].source
        assert not cells[1].outputs
    (cached,) = (book.output / "cache").glob("01_one-*.ipynb")
    assert "google.colab" not in cached.read_text()


def test_the_cell_for_colab_does_nothing_elsewhere(tmp_path: Path) -> None:
    source = pipeline.COLAB.format(url="https://github.com/a/b", branch="main")
    asks = "print('google.colab' in sys.modules, len(In))"
    cells = [nbformat.v4.new_code_cell(text) for text in (source, asks)]
    done = papermill.execute_notebook(
        nbformat.v4.new_notebook(cells=cells, metadata=pipeline.NOTEBOOK_METADATA),
        None,
        cwd=tmp_path,
        progress_bar=False,
        config=pipeline.KERNEL_CONFIG,
    )
    assert done.cells[0].outputs == []
    assert done.cells[1].outputs[0].text.startswith("False")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given",
    [
        {"url": "https://elsewhere.org/a/b", "branch": "main"},
        {"url": "https://github.com/a/b; rm", "branch": "main"},
        {"url": "https://github.com/a/b", "branch": "--upload-pack=x"},
        {"url": "https://github.com/a/b"},
        {},
    ],
)
def test_a_repository_that_is_none_is_refused(book: Book, given: dict) -> None:
    (book.root / "_config.yml").write_text(yaml.safe_dump({"repository": given}))
    with pytest.raises(
        ValueError, match="repository in _config.yml is .* give a 'url'"
    ):
        pipeline.pair(book)


def test_the_prepared_settings_bring_the_buttons(book: Book, ran) -> None:
    """What _config.yml holds as comments, uncommented, in a small book's pages."""
    lines = (ROOT / "_config.yml").read_text("utf-8").splitlines()
    first = lines.index("# repository:")
    prepared = "\n".join(line[2:] for line in lines[first : lines.index("", first)])
    (book.root / "_config.yml").write_text(
        f"title: Test\nexecute: {{execute_notebooks: 'off'}}\n{prepared}\n"
    )
    pipeline.pair(book)
    pipeline.execute(book, "quick")
    # These settings are without the extension that reads docstrings.
    shutil.rmtree(book.output / "executed" / "book" / "reference")
    pipeline.build(book)
    page = (book.output / "html" / "book" / "01_one.html").read_text("utf-8")
    place = "OWNER/NAME/blob/main/book/01_one.ipynb"
    assert f"https://colab.research.google.com/github/{place}" in page
    place = "OWNER/NAME/main?urlpath=lab/tree/book/01_one.ipynb"
    assert f"https://mybinder.org/v2/gh/{place}" in page
    assert "initThebeSBT()" in page
    assert 'repo: "OWNER/NAME"' in page
    assert "google.colab" not in page
    download = book.output / "html" / "_sources" / "book" / "01_one.ipynb"
    assert "google.colab" in download.read_text("utf-8")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Chapters that would have been executed; their outputs are their names."""
    names: list[str] = []

    def record(notebook, chapter: Path, cached: Path) -> None:
        names.append(chapter.stem)
        for cell in pipeline.code_cells(notebook):
            cell.outputs = [nbformat.v4.new_output("stream", text=chapter.stem)]
        cached.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, cached)

    monkeypatch.setattr(pipeline, "run", record)
    return names


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def leave_behind(folder: Path) -> None:
    """Files that Python and editors write beside a source."""
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "lib.pyc").write_bytes(b"1")
    (folder / ".lib.py.swp").write_bytes(b"1")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda b: None, []),
        (lambda b: edit(b.source / "01_one.py", "Some prose", "Other"), []),
        (lambda b: edit(b.source / "01_one.py", "sizes", "size"), ["01_one"]),
        (
            lambda b: edit(b.root / "nwslib" / "lib.py", "1", "2"),
            ["01_one", "02_two"],
        ),
        (
            lambda b: (b.root / "nwslib" / "learned.skops").write_bytes(b"1"),
            ["01_one", "02_two"],
        ),
        (
            lambda b: edit(b.source / "results" / "a.json", "{}", "[]"),
            ["01_one", "02_two"],
        ),
        (
            lambda b: (b.source / "results" / "a.parquet").write_bytes(b"1"),
            ["01_one", "02_two"],
        ),
        (lambda b: leave_behind(b.root / "nwslib"), []),
    ],
    ids=[
        "nothing", "prose", "code", "library", "learned model", "results", "table",
        "compiled",
    ],
)  # fmt: skip
def test_only_what_changed_is_executed(book: Book, ran, change, expected) -> None:
    pipeline.execute(book, "quick")
    assert ran == ["01_one", "02_two"]
    ran.clear()
    change(book)
    pipeline.pair(book)
    pipeline.execute(book, "quick")
    assert ran == expected
    page = nbformat.read(book.output / "executed/book/01_one.ipynb", as_version=4)
    texts = [cell.outputs[0].text for cell in pipeline.code_cells(page)]
    assert texts == ["01_one"] * 3
    assert page.cells[0].source == pipeline.notebook_of(book.sources[0]).cells[0].source


def test_another_package_version_executes_again(book: Book, ran, monkeypatch) -> None:
    pipeline.execute(book, "quick")
    newer = SimpleNamespace(name="torch", version="99")
    monkeypatch.setattr(pipeline.metadata, "distributions", lambda: [newer])
    pipeline.execute(book, "quick")
    assert ran == ["01_one", "02_two"] * 2


def test_profiles_are_cached_side_by_side(book: Book, ran) -> None:
    for profile in ("quick", "full", "quick", "full"):
        pipeline.execute(book, profile)
    assert ran == ["01_one", "02_two"] * 2


REPORT = """\
# %% tags=["parameters"]
profile: str = "quick"  # sizes

# %% tags=["reads-results"]
from pathlib import Path
print([path.stem for path in sorted(Path("../_build/out/results").glob("*"))])
"""

WRITES = (
    ONE
    + """
# %%
from pathlib import Path
folder = Path("../_build/out/results")
folder.mkdir(parents=True, exist_ok=True)
_ = (folder / f"02_two-{profile}.json").write_text("two")
"""
)


@pytest.fixture
def report(book: Book) -> Path:
    """A report on the others, which stands before them; the second one writes."""
    path = book.source / "00_report.py"
    path.write_text(REPORT)
    (book.source / "02_two.py").write_text(WRITES)
    edit(book.root / "_toc.yml", "chapters:", "chapters:\n- file: book/00_report")
    pipeline.pair(book)
    return path


def write_numbers(book: Book, name: str, text: str) -> None:
    book.results.mkdir(parents=True, exist_ok=True)
    (book.results / name).write_text(text)


def test_a_report_runs_last_and_again_when_the_numbers_change(
    book: Book, report: Path, ran
) -> None:
    pipeline.execute(book, "quick")
    assert ran == ["01_one", "02_two", "00_report"]
    pipeline.execute(book, "quick")
    write_numbers(book, "01_one-full.json", "of another profile")
    pipeline.execute(book, "quick")
    assert len(ran) == 3
    write_numbers(book, "01_one-quick.json", "1")
    pipeline.execute(book, "quick")
    write_numbers(book, "01_one-quick.json", "2")
    pipeline.execute(book, "quick")
    assert ran[3:] == ["00_report"] * 2


def test_numbers_are_those_of_the_outputs(book: Book, report: Path, capsys) -> None:
    pipeline.execute(book, "quick")
    page = book.output / "executed" / "book" / "00_report.ipynb"
    told = pipeline.code_cells(nbformat.read(page, as_version=4))[-1].outputs[0].text
    assert told == "['02_two-quick']\n"
    written = book.results / "02_two-quick.json"
    for spoil in (written.unlink, lambda: written.write_text("of another version")):
        spoil()
        pipeline.execute(book, "quick")
        assert written.read_text() == "two"
    assert "00_report (quick): unchanged" in capsys.readouterr().out


def test_a_device_is_injected_and_cached_by_itself(book: Book, ran) -> None:
    for path in book.sources:
        edit(path, "# sizes", '# sizes\ndevice: str = "cpu"  # where')
    pipeline.pair(book)
    pipeline.execute(book, "quick")
    pipeline.execute(book, "quick", "cuda")
    assert ran == ["01_one", "02_two"] * 2
    page = nbformat.read(book.output / "executed/book/01_one.ipynb", as_version=4)
    injected = pipeline.code_cells(page)[1].source
    assert 'device = "cuda"' in injected and "profile" not in injected


def test_a_chapter_without_a_profile_stops_before_any_runs(book: Book, ran) -> None:
    edit(book.source / "02_two.py", "profile: str", "prifole: str")
    pipeline.pair(book)
    with pytest.raises(ValueError, match=r"02_two.py has no parameter 'profile'"):
        pipeline.execute(book, "quick")
    assert ran == []


def test_a_failing_cell_is_named_and_the_other_chapter_kept(book: Book, capsys) -> None:
    message = r"02_two.py failed in cell In \[\d\], .*'1 / 0', with ZeroDivisionError"
    with pytest.raises(RuntimeError, match=message):
        pipeline.execute(book, "full")
    with pytest.raises(RuntimeError, match=message):
        pipeline.execute(book, "full")
    assert "01_one (full): unchanged" in capsys.readouterr().out
    page = nbformat.read(book.output / "executed/book/01_one.ipynb", as_version=4)
    cells = pipeline.code_cells(page)
    assert 'profile = "full"' in cells[1].source
    assert cells[2].outputs[0].text == "profile full\n"


@pytest.mark.parametrize("step", [pipeline.build, pipeline.links])
def test_building_needs_executed_chapters(book: Book, step) -> None:
    with pytest.raises(FileNotFoundError, match="no executed chapters"):
        step(book)


@pytest.mark.parametrize("profile", ["fast", ""])
def test_make_refuses_an_unknown_profile(profile: str, monkeypatch) -> None:
    for name in ("MAKEFLAGS", "MAKELEVEL"):  # set where make runs the tests
        monkeypatch.delenv(name, raising=False)
    command = ["make", "--dry-run", "book", f"PROFILE={profile}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode
    assert f"unknown PROFILE '{profile}': choose quick, full or paper" in done.stderr
    assert not done.stdout


def test_the_readme_quotes_the_recorded_run() -> None:
    path = BOOK.source / "results" / "04_versioning-paper.json"
    numbers = json.loads(path.read_text("utf-8"))["numbers"]
    cnn, ffnn = (numbers[net]["full space"] for net in ("A2", "A1"))
    readme = (BOOK.root / "README.md").read_text("utf-8")
    for measure in ("purity", "ordered_pairs_forward", "ordered_pairs"):
        assert f"| {cnn[measure]:.3f}, {ffnn[measure]:.3f} |" in readme, measure


def test_the_readme_quotes_the_recorded_bench() -> None:
    path = BOOK.source / "results" / "bench-cpu.json"
    rows = {row["name"]: row for row in json.loads(path.read_text("utf-8"))["rows"]}
    readme = (BOOK.root / "README.md").read_text("utf-8")
    for net in ("A1", "A2"):
        row = rows[f"train-{net}"]
        ours, plain = row["ours"], row["peers"]["plain-loop"]
        cells = f"| {ours:.1f} us | {plain:.0f} us | {plain / ours:.0f} |"
        assert cells in readme, net
    a1, a2 = (rows[f"train-{net}"]["peers"] for net in ("A1", "A2"))
    for peer in ("jax-vmap", "general-engine"):
        assert f"{a1[peer]:.1f} and {a2[peer]:.0f} us" in readme, peer
    paper, large = rows["linkage-12500x2160"], rows["linkage-50000x1000"]
    assert f"{paper['ours']:.1f} s and {paper['memory_mb']:.0f} MB" in readme
    best = min(paper["peers"], key=paper["peers"].get)
    assert f"({best}: {paper['peers'][best]:.0f} s)" in readme
    assert f"{large['ours']:.0f} s and {large['memory_mb']:.0f} MB" in readme
    plain, augmented = rows["nws"], rows["nws-augmented"]
    assert f"{plain['ours']:.0f} us, {augmented['ours']:.0f} us with" in readme
    loops = [row["peers"]["plain-loop"] for row in (plain, augmented)]
    assert "`DataLoader` {:.0f} and {:.0f} us".format(*loops) in readme
    lineage, monitor = rows["lineage"], rows["monitor-mlp"]
    assert f"{lineage['ours']:.0f} s and {lineage['memory_mb']:.0f} MB" in readme
    share = monitor["ours"] / monitor["peers"]["training-step"]  # every 100 steps
    assert f"takes {share:.1f} % of the training" in readme
