"""A Sphinx extension that mends two things in the pages of Sphinx and docutils.

Sphinx adds the inline scripts of extensions twice, once as of no file and once as of
the file ''. sphinx-thebe's declares constants, and a second declaration is an error.

docutils gives the entries of a bibliography the role ``doc-biblioentry``, which
DPUB-ARIA 1.1 has deprecated and screen readers do not take for an entry of a list.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def mend(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Keep the first of equal inline scripts; call bibliography entries list items."""
    seen, kept = set(), []
    for script in context["script_files"]:
        body = getattr(script, "attributes", {}).get("body")
        if body is None or body not in seen:
            kept.append(script)
        seen.add(body)
    context["script_files"] = kept
    if "body" in context:
        context["body"] = context["body"].replace(
            'role="doc-biblioentry"', 'role="listitem"'
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-page-context", mend, priority=900)  # after all others
    return {"parallel_read_safe": True, "parallel_write_safe": True}
