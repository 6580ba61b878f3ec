"""Write the reference: pages that name every public module of nwslib.

``make pair`` writes them to ``book/reference/``, from the files of nwslib alone;
Sphinx fills them with the docstrings. Submodules come by themselves; a new module
of its own is put on a page in :data:`PAGES`.

A class or function stands where users import it from: one that a package
re-exports stands with the package, not with the submodule that defines it.
"""

from __future__ import annotations

import ast
from pathlib import Path

#: Page -> its title and modules, in the order data flows.
PAGES = {
    "images_and_nets": ("Images, nets, vectors", "data nets flatten"),
    "training": (
        "Training many nets at once",
        "recipe stacked kernels train",
    ),
    "zoos": ("Zoos on disk", "zoo sampling foreign"),
    "paths": (
        "Spaces, clusters, paths",
        "reduction clustering neighbours trajectory",
    ),
    "nws": ("The neural weight space", "nws"),
    "findings": (
        "What weights and trainings tell",
        "features regression influence modes findings",
    ),
    "monitoring": (
        "Monitoring and domain shift",
        "progress forecast outliers monitor shifts retraining drift detection",
    ),
    "meta": ("Meta-classifiers", "meta"),
    "lineage": ("Checkpoints and their lineage", "checkpoints lineage"),
    "figures": ("Figures", "plots explorer"),
    "book": (
        "Behind the book",
        "papers profiles readings report reproduction",
    ),
}


def pages(root: Path) -> dict[Path, str]:
    """Return the text of every page by its place.

    Parameters
    ----------
    root : Path
        Folder with ``nwslib/`` and ``book/``.

    Raises
    ------
    ValueError
        If a module is on no page, on two, or does not exist.
    """
    here = {
        path.stem
        for path in (root / "nwslib").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
        if not path.name.startswith("_")
    }
    listed = [name for _, names in PAGES.values() for name in names.split()]
    for name in sorted(here | set(listed)):
        if name not in here or listed.count(name) != 1:
            raise ValueError(
                f"nwslib.{name} must exist and stand on one page of the "
                "reference: see PAGES in book/reference.py."
            )
    return {
        root / f"book/reference/{page}.md": _page(
            root / "nwslib", title, names.split()
        )
        for page, (title, names) in PAGES.items()
    }


def _page(library: Path, title: str, names: list[str]) -> str:
    """One page: a section a module, a subsection a submodule."""
    parts = [f"# {title}"]
    for name in names:
        folder = library / name
        if not folder.is_dir():
            parts.append(
                _section(2, f"nwslib.{name}", ["ignore-module-all"])
            )
            continue
        exported = _exported(folder / "__init__.py")
        parts.append(_section(2, f"nwslib.{name}", []))
        for path in sorted(folder.glob("[!_]*.py")):
            options = ["ignore-module-all"]
            if moved := [
                each for each in _defined(path) if each in exported
            ]:
                options.append(f"exclude-members: {', '.join(moved)}")
            if (
                path.stem in exported
            ):  # the package's function of this name counts
                options.append("no-index")
            parts.append(_section(3, f"nwslib.{name}.{path.stem}", options))
    return "\n\n".join(parts) + "\n"


def _section(level: int, module: str, options: list[str]) -> str:
    """One module's heading and directive."""
    return "\n".join(
        [
            f"{'#' * level} {module}",
            "",
            "```{eval-rst}",
            f".. automodule:: {module}",
            *(
                f"   :{line}{'' if ':' in line else ':'}"
                for line in options
            ),
            "```",
        ]
    )


def _exported(path: Path) -> set[str]:
    """Names in a module's ``__all__``; none where it has none."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if (
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "__all__"
        ):
            return set(ast.literal_eval(node.value))
    return set()


def _defined(path: Path) -> list[str]:
    """Classes and functions that a module defines, in its order."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(path.read_text("utf-8")).body
    return [node.name for node in body if isinstance(node, kinds)]
