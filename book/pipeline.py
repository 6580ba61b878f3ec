"""Make the book: pair the chapters, execute them, build the pages.

A chapter is one Python file in percent format, ``book/NN_name.py``. Four steps
turn the chapters into a book; ``make book`` runs them all:

pair
    writes ``NN_name.ipynb``, the same chapter as a notebook without outputs, and
    the pages of the reference from the list of modules;
check
    compares every notebook with its source, the chapters with ``_toc.yml``, and
    the reference with the library;
execute
    runs each chapter with papermill, or takes its outputs from the cache, and
    lays the book out with its outputs in ``_build/executed/``;
build
    turns that folder into pages, ``_build/html/``.

A fifth, ``links``, checks the links of that folder to other sites.

The cache is keyed by all that an output depends on: a chapter's code and
parameters, the source of nwslib, the recorded results, the package versions.
Prose is not among them: a reworded chapter keeps its outputs.

A chapter with a cell tagged ``reads-results`` reports on the others: it runs
after them, and depends on what they wrote to ``_build/out/results`` as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
import jupytext
import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

import reference
from nwslib import _files
from nwslib.profiles import PROFILES

#: Every chapter's own defaults; anything else is injected by papermill.
DEFAULT_PROFILE = "quick"

DEFAULT_DEVICE = "cpu"

#: Tag of a cell that reads the numbers of this build's other chapters.
READS_RESULTS = "reads-results"

#: Kernel and pipeline talk over local TCP, which other users can reach.
KERNEL_CONFIG = Config({"KernelManager": {"transport_encryption": "auto"}})

#: The same for every notebook, so that no editor's own entries get in.
NOTEBOOK_METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


#: Name of an executed notebook's checksum in its metadata.
_SEAL = "sha256"

#: Stands first in the code of what readers get, once the repository is known. Tagged,
#: it is on no page; it is no part of what is executed here.
COLAB = """\
# On Colab: fetch the book and its library. Anywhere else: do nothing.
import sys
from importlib.util import find_spec

if "google.colab" in sys.modules and not find_spec("nwslib"):
    !git clone --quiet --depth 1 --branch {branch} {url} /content/nwslib-book
    %pip install --quiet "/content/nwslib-book[book]"
    %cd /content/nwslib-book/book"""


@dataclass(frozen=True)
class Book:
    """Where the parts of a book lie.

    Attributes
    ----------
    root : Path
        Folder with ``_config.yml``, ``_toc.yml``, ``book/`` and ``nwslib/``.
    """

    root: Path

    @property
    def source(self) -> Path:
        """Chapters, pages and static files."""
        return self.root / "book"

    @property
    def output(self) -> Path:
        """Everything that is generated."""
        return self.root / "_build"

    @property
    def sources(self) -> list[Path]:
        """Sources of the chapters that exist, by name."""
        return sorted(self.source.glob("[0-9][0-9]_*.py"))

    @property
    def results(self) -> Path:
        """Where chapters write their numbers, unless told otherwise."""
        return self.output / "out" / "results"

    @property
    def repository(self) -> dict[str, str] | None:
        """Its ``url`` and ``branch``, from ``_config.yml``; None if not set there."""
        text = (self.root / "_config.yml").read_text("utf-8")
        given = yaml.safe_load(text).get("repository")
        if given is None:
            return None
        url, branch = (str(given.get(key, "")) for key in ("url", "branch"))
        name = r"[\w][\w.-]*"
        if not (
            re.fullmatch(rf"https://github\.com/{name}/{name}", url)
            and re.fullmatch(rf"{name}(/{name})*", branch)
        ):
            raise ValueError(
                f"repository in _config.yml is {given}: give a 'url' such as "
                "https://github.com/OWNER/NAME and a 'branch'."
            )
        return {"url": url, "branch": branch}

    def chapters(self) -> list[Path]:
        """Sources of the chapters in the order of the table of contents."""
        toc = yaml.safe_load((self.root / "_toc.yml").read_text("utf-8"))
        files = [self.root / f"{name}.py" for name in toc_files(toc)]
        return [path for path in files if path.is_file()]


def toc_files(node: Any) -> Iterator[str]:
    """Yield every page that a (part of a) table of contents names, in order."""
    if isinstance(node, list):
        for entry in node:
            yield from toc_files(entry)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield value
            else:
                yield from toc_files(value)


# --- pair and check -------------------------------------------------------


def notebook_of(chapter: Path) -> NotebookNode:
    """Read a chapter's source as a notebook without outputs.

    A cell's id is a digest of its content, so that equal sources give equal
    notebooks and an edit changes the ids of the cells that it touches only.
    """
    text = chapter.read_text("utf-8")
    read = jupytext.reads(text, fmt="py:percent")
    cells, seen = [], set()
    for cell in read.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode())
        while (cell_id := digest.hexdigest()[:12]) in seen:  # repeated cell
            digest.update(b"again")
        seen.add(cell_id)
        new_cell = getattr(nbformat.v4, f"new_{cell.cell_type}_cell")
        kept = {
            key: cell.metadata[key]
            for key in ("tags", "mystnb")
            if key in cell.metadata
        }
        cells.append(new_cell(cell.source, id=cell_id, metadata=kept))
    return nbformat.v4.new_notebook(cells=cells, metadata=NOTEBOOK_METADATA)


def for_readers(book: Book, notebook: NotebookNode) -> NotebookNode:
    """Put `COLAB` behind a notebook's first cell, if the repository is known."""
    if book.repository:
        cell = nbformat.v4.new_code_cell(
            COLAB.format(**book.repository),
            id="colab",
            metadata={"tags": ["remove-cell"]},
        )
        notebook.cells.insert(1, cell)
    return notebook


def notebook_text(book: Book, chapter: Path) -> str:
    """Return the exact content of the notebook beside a chapter's source."""
    notebook = for_readers(book, notebook_of(chapter))
    return nbformat.writes(notebook) + "\n"


def pair(book: Book) -> None:
    """Write every notebook and page of the reference; leave right ones alone."""
    notebooks = {
        chapter.with_suffix(".ipynb"): notebook_text(book, chapter)
        for chapter in book.sources
    }
    for path, text in (notebooks | reference.pages(book.root)).items():
        if not path.is_file() or path.read_text("utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(book.root)}")


def check(book: Book) -> None:
    """Check that sources, notebooks, contents and reference agree.

    Raises
    ------
    ValueError
        Naming the first file that does not.
    """
    for chapter in book.sources:
        name = chapter.relative_to(book.root)
        notebook = chapter.with_suffix(".ipynb")
        given = notebook.read_text("utf-8") if notebook.is_file() else None
        if given != notebook_text(book, chapter):
            raise ValueError(
                f"{name.with_suffix('.ipynb')} is not what its source {name} "
                "gives: edit the .py only, then run 'make pair'."
            )
        if chapter not in book.chapters():
            raise ValueError(f"{name} is not in _toc.yml: list it there.")
    for notebook in sorted(book.source.glob("*.ipynb")):
        if not notebook.with_suffix(".py").is_file():
            raise ValueError(
                f"{notebook.relative_to(book.root)} has no source: remove it, "
                "or turn it into one with 'jupytext --to py:percent'."
            )
    for page, text in reference.pages(book.root).items():
        if not page.is_file() or page.read_text("utf-8") != text:
            raise ValueError(
                f"{page.relative_to(book.root)} is not what the list of modules "
                "gives: run 'make pair'."
            )


# --- execute --------------------------------------------------------------


def execute(book: Book, profile: str, device: str = DEFAULT_DEVICE) -> None:
    """Lay the book out with every chapter's outputs in ``_build/executed``.

    Raises
    ------
    ValueError
        If a chapter has no parameter ``profile``, before any chapter runs.
    RuntimeError
        If a cell fails; the chapters before it stay in the cache.
    """
    check(book)
    chapters = book.chapters()
    prepared = {
        path: parameterised(path, profile, device) for path in chapters
    }
    # Those that report on the others come last, in their own order.
    chapters.sort(key=lambda path: _reads_results(prepared[path]))
    surroundings = _surroundings(book)
    executed = book.output / "executed"
    shutil.rmtree(executed, ignore_errors=True)
    _copy_pages(book, executed)
    for number, path in enumerate(chapters, start=1):
        label = f"[{number}/{len(chapters)}] {path.stem} ({profile})"
        notebook = prepared[path]
        results = book.results / f"{path.stem}-{profile}.json"
        read = (
            _digest(book.results, f"*-{profile}.json")
            if _reads_results(notebook)
            else ""
        )
        key = _key(notebook, surroundings + read)
        cached = book.output / "cache" / f"{path.stem}-{key}.ipynb"
        ran = _kept(cached)
        if ran:
            print(f"{label}: unchanged, outputs from the cache", flush=True)
            _copy_if_there(cached.with_suffix(".json"), results)
        else:
            print(f"{label}: executing ...", flush=True)
            start = time.perf_counter()
            run(notebook, path, cached)
            _copy_if_there(results, cached.with_suffix(".json"))
            seconds = time.perf_counter() - start
            print(f"{label}: done in {seconds:.1f} s", flush=True)
            ran = nbformat.read(cached, as_version=4)
            _keep(ran, cached)
        page = _with_outputs(notebook, ran)
        nbformat.write(
            for_readers(book, page),
            executed / "book" / f"{path.stem}.ipynb",
        )
    # Last: a folder with a table of contents is whole.
    shutil.copy(book.root / "_toc.yml", executed / "_toc.yml")


def parameterised(
    chapter: Path, profile: str, device: str = DEFAULT_DEVICE
) -> NotebookNode:
    """Return a chapter as it will run: with what is no default injected.

    papermill ignores parameters that a notebook does not have; here that is a
    ValueError.
    """
    notebook = notebook_of(chapter)
    given = {"profile": profile, "device": device}
    defaults = {"profile": DEFAULT_PROFILE, "device": DEFAULT_DEVICE}
    given = {
        key: given[key] for key in given if given[key] != defaults[key]
    }
    if "profile" not in papermill.inspect_notebook(notebook):
        raise ValueError(
            f"{chapter.name} has no parameter 'profile': set it in a cell "
            "tagged 'parameters'."
        )
    if not given:
        return notebook
    injected = papermill.execute_notebook(
        notebook, None, given, prepare_only=True
    )
    for cell in injected.cells:
        cell.metadata.pop("papermill", None)  # run times, other every time
    injected.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    return injected


def run(notebook: NotebookNode, chapter: Path, cached: Path) -> None:
    """Execute one notebook in the book's folder and keep it in the cache.

    Raises
    ------
    RuntimeError
        Naming chapter, cell and error, and the notebook as far as it came.
    """
    partial = cached.with_name(f"{chapter.stem}-unfinished.ipynb")
    cached.parent.mkdir(parents=True, exist_ok=True)
    # A chapter's progress bars go where someone can watch them.
    watched = sys.stderr if sys.stderr.isatty() else None
    try:
        papermill.execute_notebook(
            notebook,
            partial,
            cwd=chapter.parent,
            progress_bar=False,
            stderr_file=watched,
            config=KERNEL_CONFIG,
        )
    except PapermillExecutionError as error:
        line = next(iter(error.source.strip().splitlines()), "")
        raise RuntimeError(
            f"{chapter.name} failed in cell In [{error.exec_count}], which "
            f"begins '{line}', with {error.ename}: {error.evalue} (the notebook "
            f"up to there: {partial})"
        ) from error
    except DeadKernelError as error:
        raise RuntimeError(
            f"{chapter.name} failed because its Python process was killed, "
            "probably for lack of memory: close other programs or take a "
            f"smaller profile (the notebook up to there: {partial})"
        ) from error
    partial.replace(cached)


def _keep(ran: NotebookNode, cached: Path) -> None:
    """Write an executed notebook to the cache, with its checksum."""
    ran.metadata.pop(_SEAL, None)
    ran.metadata[_SEAL] = _checksum(ran)
    _files.put(cached, nbformat.writes(ran).encode())


def _kept(cached: Path) -> NotebookNode | None:
    """An executed notebook from the cache, if it is there and undamaged."""
    if not cached.is_file():
        return None
    try:
        ran = nbformat.reads(cached.read_bytes().decode(), as_version=4)
        seal = ran.metadata.pop(_SEAL)
    except Exception:  # a damaged file: anything can be wrong with it
        seal = ran = None
    if ran is None or seal != _checksum(ran):
        print(
            f"{cached.name} in the cache is damaged or not sealed",
            flush=True,
        )
        return None
    return ran


def _checksum(notebook: NotebookNode) -> str:
    """Checksum of a notebook, however its file is laid out."""
    text = nbformat.writes(notebook)
    return hashlib.sha256(text.encode()).hexdigest()


def _key(notebook: NotebookNode, surroundings: str) -> str:
    """Digest of all that the outputs of a notebook depend on."""
    code = [
        [cell.source, cell.metadata.get("tags", [])]
        for cell in code_cells(notebook)
    ]
    text = json.dumps([code, surroundings])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _surroundings(book: Book) -> str:
    """Digest of what all chapters share: library, results, packages."""
    digest = hashlib.sha256(platform.python_version().encode())
    versions = {f"{d.name}=={d.version}" for d in metadata.distributions()}
    digest.update("\n".join(sorted(versions)).encode())
    for folder in (book.root / "nwslib", book.source / "results"):
        digest.update(_digest(folder).encode())
    return digest.hexdigest()


def _digest(folder: Path, pattern: str = "*") -> str:
    """Digest of a folder's files, but for what Python and editors leave there."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        name = path.relative_to(folder)
        left = any(
            p.startswith(".") or p == "__pycache__" for p in name.parts
        )
        if path.is_file() and not left:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name.as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _reads_results(notebook: NotebookNode) -> bool:
    """Whether a chapter reports on what the others wrote."""
    return any(
        READS_RESULTS in cell.metadata.get("tags", [])
        for cell in code_cells(notebook)
    )


def _copy_if_there(source: Path, target: Path) -> None:
    """Keep a chapter's numbers beside its outputs, or put them back.

    Else a chapter whose outputs come from the cache could stand beside numbers
    that another version of it wrote.
    """
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _with_outputs(
    notebook: NotebookNode, run: NotebookNode
) -> NotebookNode:
    """Outputs of a run in a notebook of the same code (its prose may differ)."""
    pairs = zip(code_cells(notebook), code_cells(run), strict=True)
    for cell, ran in pairs:
        cell.outputs = ran.outputs
        cell.execution_count = ran.execution_count
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return a notebook's code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _copy_pages(book: Book, target: Path) -> None:
    """Copy all that the pages need, except the chapters themselves."""
    others = shutil.ignore_patterns(
        "[0-9]*.py", "*.ipynb", "ruff.toml", "results", "__pycache__", ".*"
    )
    shutil.copytree(book.source, target / "book", ignore=others)
    shutil.copy(book.root / "_config.yml", target / "_config.yml")


# --- build ----------------------------------------------------------------


def build(book: Book) -> None:
    """Build the pages from the executed chapters; a warning is an error.

    Raises
    ------
    FileNotFoundError
        If the chapters have not been executed.
    RuntimeError
        If jupyter-book fails or warns; its output, above, says why.
    """
    # A second build on top of the first would hide the first one's warnings.
    for old in ("html", ".doctrees"):
        shutil.rmtree(book.output / old, ignore_errors=True)
    start = time.perf_counter()
    _jupyter_book(book, "-W", "-n", "--keep-going")
    seconds = time.perf_counter() - start
    print(
        f"built in {seconds:.1f} s: {book.output / 'html' / 'index.html'}"
    )


def links(book: Book) -> None:
    """Check that links to other sites lead somewhere; raises as :func:`build`."""
    _jupyter_book(book, "--builder", "linkcheck")


def _jupyter_book(book: Book, *options: str) -> None:
    """Run ``jupyter-book build`` on the executed chapters."""
    executed = book.output / "executed"
    if not (executed / "_toc.yml").is_file():
        raise FileNotFoundError(
            f"{executed} holds no executed chapters: run 'make book'."
        )
    # The command jupyter-book of this very environment, wherever it lies.
    program = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", program, "build", executed]
    command += ["--path-output", book.root, *options]
    if subprocess.run(command).returncode:
        raise RuntimeError(
            "jupyter-book warned or failed: see its output above."
        )


@contextmanager
def alone(book: Book) -> Iterator[None]:
    """Keep other builds out of a book's output folder.

    Raises
    ------
    RuntimeError
        If another build is under way there.
    """
    book.output.mkdir(exist_ok=True)
    lock = filelock.FileLock(book.output / ".lock", timeout=0)
    try:
        with lock:
            yield
    except filelock.Timeout as error:
        raise RuntimeError(
            f"another build is under way in {book.output}: wait until it has "
            "finished."
        ) from error


def main() -> None:
    """Run the steps named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    steps = ("pair", "check", "execute", "build", "all", "links")
    parser.add_argument(
        "step", choices=steps, help="all: check, execute, build"
    )
    parser.add_argument(
        "--profile", choices=PROFILES, default=DEFAULT_PROFILE
    )
    parser.add_argument(
        "--device", default=DEFAULT_DEVICE, help="where nets train"
    )
    arguments = parser.parse_args()
    book = Book(Path(__file__).resolve().parent.parent)
    try:
        if arguments.step == "pair":
            pair(book)
        if arguments.step == "check":
            check(book)
        if arguments.step in ("execute", "build", "all"):
            with alone(book):
                if arguments.step != "build":
                    execute(book, arguments.profile, arguments.device)
                if arguments.step != "execute":
                    build(book)
        if arguments.step == "links":
            links(book)
    except KeyboardInterrupt:
        print(
            "interrupted: finished chapters stay in the cache",
            file=sys.stderr,
        )
        sys.exit(130)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
