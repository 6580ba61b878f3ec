"""The book's own machinery in a browser: search, theme, menu, copying, explorers."""

from __future__ import annotations

import io
import json
import re

import pytest
from explored import VIEW, live, pixels, place, settled, zoom
from PIL import Image


def test_search_finds_a_word(visit, book):
    page = visit(f"{book}/book/01_weight_space.html")
    page.locator(".search-button-field").click()
    page.locator("#pst-search-dialog input").fill("dendrogram")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=dendrogram**")
    found = page.locator("#search-results li a")
    found.first.wait_for()
    found.filter(has_text="Which epoch belongs to which net").first.click()
    page.wait_for_url("**/04_versioning.html*")


def test_search_finds_nothing_where_nothing_is(visit, book):
    page = visit(f"{book}/search.html?q=zyxomma")
    page.get_by_text("did not match any documents").wait_for()
    assert page.locator("#search-results li").count() == 0


@pytest.mark.parametrize("system", ["light", "dark"])
def test_theme_goes_through_three_modes_and_is_kept(visit, book, system):
    page = visit(f"{book}/book/01_weight_space.html", color_scheme=system)
    ground = "getComputedStyle(document.body).backgroundColor"
    shown = {}
    for _ in range(3):
        mode, theme = page.evaluate(
            "['mode', 'theme'].map(key => document.documentElement.dataset[key])"
        )
        shown[mode] = theme
        colour = [int(part) for part in re.findall(r"\d+", page.evaluate(ground))]
        assert (max(colour) < 60) == (theme == "dark"), colour
        page.locator(".theme-switch-button:visible").click()
    assert shown == {"auto": system, "light": "light", "dark": "dark"}
    other = "light" if system == "dark" else "dark"
    while page.evaluate("document.documentElement.dataset.mode") != other:
        page.locator(".theme-switch-button:visible").click()
    page.goto(f"{book}/book/02_growing_zoos.html")
    assert page.evaluate("document.documentElement.dataset.theme") == other


def test_copy_button_copies_the_code(visit, book):
    page = visit(
        f"{book}/book/03_seeing_trajectories.html",
        permissions=["clipboard-read", "clipboard-write"],
    )
    code = page.locator(".cell_input .highlight").nth(1)
    code.hover()
    code.locator("button.copybtn").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == code.locator("pre").inner_text().strip()
    assert copied.startswith("from nwslib.report import check_parameters")


@pytest.fixture
def phone(visit, book):
    return visit(
        f"{book}/book/03_seeing_trajectories.html", is_mobile=True, has_touch=True,
        viewport={"width": 390, "height": 844}, device_scale_factor=3,
    )  # fmt: skip


def test_menu_of_a_phone_opens_leads_on_and_closes(phone):
    link = phone.locator(".bd-links a", has_text="Your own checkpoints").first
    assert not link.is_visible()
    toggle = phone.locator("button.primary-toggle:visible")
    toggle.tap()
    link.wait_for(state="visible")
    phone.keyboard.press("Escape")
    link.wait_for(state="hidden")
    toggle.tap()
    link.tap()
    phone.wait_for_url("**/07_your_checkpoints.html")
    assert phone.locator("h1:visible").inner_text().startswith("Your own checkpoints")


def test_contents_of_a_page_on_a_phone(phone):
    link = phone.locator(".page-toc a", has_text="Walk around").first
    assert not link.is_visible()
    phone.locator("button.secondary-toggle:visible").tap()
    link.wait_for(state="visible")
    link.tap()
    phone.wait_for_url("**#walk-around")


def test_download_is_the_executed_notebook(visit, book):
    page = visit(f"{book}/book/01_weight_space.html")
    address = page.locator("a.btn-download-source-button").get_attribute("href")
    answer = page.request.get(page.evaluate("a => new URL(a, location).href", address))
    notebook = json.loads(answer.text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert any("image/svg+xml" in output.get("data", {})
               for cell in code for output in cell["outputs"])  # fmt: skip


# --- the explorers of chapters 03 and 10 -------------------------------------


@pytest.fixture(params=["03_seeing_trajectories", "10_map_of_weight_space"])
def explored_page(request, visit, book):
    """A page whose first explorer is drawn and in sight."""
    page = visit(f"{book}/book/{request.param}.html")
    page.locator(".nws-explorer canvas").first.scroll_into_view_if_needed()
    page.wait_for_function(f"{VIEW}.plot.width > 0")
    return page


def test_explorer_by_pointer(explored_page):
    page, view = explored_page, explored_page.locator(".nws-explorer").first
    before = pixels(page)
    page.mouse.move(*place(page, 0))
    assert view.locator(".nws-tip strong").inner_text().startswith("Net ")
    page.mouse.click(*place(page, 0))
    assert live(page).startswith("Net ")
    page.mouse.move(5, 5)
    assert pixels(page) != before
    view.get_by_role("button", name="Zoom in").click()
    assert zoom(page) > 1


def test_explorer_by_keyboard(explored_page):
    page = explored_page
    page.locator(".nws-explorer canvas").first.focus()
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("n")
    first = live(page)
    assert first.startswith("Net ")
    page.keyboard.press("n")
    assert live(page).startswith("Net ") and live(page) != first
    page.keyboard.press("+")
    assert zoom(page) > 1
    before = place(page, 0)
    page.keyboard.press("ArrowLeft")
    settled(page)
    assert place(page, 0)[0] > before[0] + 20
    page.keyboard.press("0")
    assert zoom(page) == 1
    page.keyboard.press("Escape")
    assert live(page).startswith("Nothing picked")
    assert page.evaluate("scrollY") == scrolled


def test_explorer_by_its_controls(explored_page):
    page, view = explored_page, explored_page.locator(".nws-explorer").first
    for label in ("Plane", "Colour"):
        choice = view.get_by_label(label, exact=True)
        options = choice.locator("option").all_inner_texts()
        before = pixels(page)
        chosen = choice.evaluate("choice => choice.selectedOptions[0].label")
        choice.select_option(label=next(o for o in options if o != chosen))
        page.wait_for_timeout(900)  # points move to the other plane
        assert pixels(page) != before, label
    slider = view.locator("input[type=range]")
    before = pixels(page)
    slider.press("Home")
    assert pixels(page) != before
    view.get_by_label("Net", exact=True).select_option(index=2)
    assert live(page).startswith("Net ")


def test_explorer_follows_the_theme(explored_page):
    page = explored_page

    def ground():
        settled(page)
        canvas = page.locator(".nws-explorer canvas").first
        return Image.open(io.BytesIO(canvas.screenshot())).getpixel((8, 8))[:3]

    light = ground()
    while page.evaluate("document.documentElement.dataset.theme") != "dark":
        page.locator(".theme-switch-button:visible").click()
    page.wait_for_timeout(100)
    assert min(light) > 240 and max(ground()) < 60
