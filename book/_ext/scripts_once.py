"""A Sphinx extension: every inline script once a page.

Sphinx adds the inline scripts of extensions twice, once as of no file and once as of
the file ''. sphinx-thebe's declares constants, and a second declaration is an error.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def keep_first(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Drop from a page's scripts what repeats an earlier one's text."""
    seen, kept = set(), []
    for script in context["script_files"]:
        body = getattr(script, "attributes", {}).get("body")
        if body is None or body not in seen:
            kept.append(script)
        seen.add(body)
    context["script_files"] = kept


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-page-context", keep_first, priority=900)  # after all others
    return {"parallel_read_safe": True, "parallel_write_safe": True}
