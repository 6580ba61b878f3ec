"""A page's first explorer, as a test looks at it."""

from __future__ import annotations

VIEW = "document.querySelector('.nws-explorer').explorer"


def settled(page):
    """Wait until nothing moves and everything is drawn."""
    page.wait_for_function(f"!{VIEW}.plot.goal && !{VIEW}.plot.waiting")
    page.evaluate("new Promise(done => requestAnimationFrame(() =>"
                  " requestAnimationFrame(done)))")  # fmt: skip


def place(page, row):
    """Where a row is on the screen."""
    x, y = page.evaluate(f"{VIEW}.plot.place({row})")
    box = page.locator(".nws-explorer canvas").first.bounding_box()
    return box["x"] + x, box["y"] + y


def pixels(page):
    """What is drawn, to compare."""
    settled(page)
    return page.evaluate("document.querySelector('.nws-explorer canvas').toDataURL()")


def live(page):
    """What a screen reader was told last."""
    return page.locator(".nws-explorer [aria-live]").first.text_content()


def zoom(page):
    """How many times larger than at first."""
    settled(page)
    return page.evaluate(f"{VIEW}.plot.view.zoom")
