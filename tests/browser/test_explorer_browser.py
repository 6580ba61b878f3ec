"""The explorer in a real browser: pointer, touch, keyboard, themes, and its speed."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explored import VIEW, live, pixels, place, settled, zoom
from PIL import Image

import browser
from nwslib.explorer import explorer

STATIC = Path(__file__).parents[2] / "book" / "_static"
HOSTILE = "</script><img src=x onerror=document.title='owned'>"

#: The theme's variables, as far as the explorer takes them.
PAGE = """<!doctype html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Test</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="explorer.css"><style>
html { --pst-color-background: #fff; --pst-color-text-base: #222832; }
html[data-theme=dark] {
  --pst-color-background: #14181e; --pst-color-text-base: #ced6dd; }
body { height: 3000px; }
</style><script defer src="explorer.js"></script></head><body>%s</body></html>"""


def walks(runs: int, steps: int, seed: int = 0) -> np.ndarray:
    """Positions [runs * steps, 2] of paths that slow down."""
    rng = np.random.default_rng(seed)
    slowing = 1 / np.arange(1, steps + 1)[:, None]
    moves = rng.normal(size=(runs, 1, 2)) + 0.3 * rng.normal(size=(runs, steps, 2))
    paths = 4 * rng.normal(size=(runs, 1, 2)) + np.cumsum(moves * slowing, axis=1)
    return paths.reshape(-1, 2)


def table_of(runs: int, steps: int) -> pd.DataFrame:
    """Made-up accuracies and one hyper-parameter."""
    epoch = np.tile(np.arange(1, steps + 1), runs)
    run = np.repeat(np.arange(runs), steps)
    optimizer = np.array(["adam", "momentum", HOSTILE])[run % 3]
    return pd.DataFrame(
        {"run": run, "epoch": epoch, "accuracy": 1 - 1 / (1 + epoch)}
    ).assign(optimizer=optimizer)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Address of a folder with three pages: small, two, large."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("explorer.js", "explorer.css"):
        shutil.copy(STATIC / name, folder)
    small = table_of(12, 10)
    planes = {"one": walks(12, 10), "other": walks(12, 10, 1)}
    large = table_of(250, 50)
    shown = {
        "small": [explorer(planes, small, title="Small")],
        "two": [
            explorer(planes, small, title="First"),
            explorer(planes, small, title="Second", colour="optimizer", paths=False),
        ],
        "large": [explorer({"plane": walks(250, 50)}, large, title="Large")],
    }
    for name, views in shown.items():
        parts = "".join(view.html for view in views)
        (folder / f"{name}.html").write_text(PAGE % parts, "utf-8")
    with browser.serve(folder) as address:
        yield address


@pytest.fixture
def open_page(visit, site):
    """Open a page and wait for its explorer, if scripts run."""

    def open_and_wait(name, **options):
        page = visit(f"{site}/{name}.html", **options)
        if options.get("java_script_enabled", True):
            page.wait_for_function(f"{VIEW}.plot.width > 0")
        return page

    return open_and_wait


# --- pointer ---------------------------------------------------------------


def test_hover_tells_what_is_under_the_pointer(open_page):
    page = open_page("small")
    tip = page.locator(".nws-tip")
    assert tip.is_hidden()
    page.mouse.move(*place(page, 23))
    assert tip.inner_text().split("\n")[0] == "Net 2, epoch 4"
    assert "0.8" in tip.inner_text()
    assert HOSTILE in tip.inner_text()
    assert page.title() == "Test" and page.locator("img").count() == 0
    page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_click_picks_and_a_click_beside_lets_go(open_page):
    page = open_page("small")
    before = pixels(page)
    page.mouse.click(*place(page, 23))
    assert live(page).startswith("Net 2, epoch 4: accuracy 0.8, optimizer </script>")
    assert page.get_by_label("Net", exact=True).input_value() == "2"
    page.mouse.move(5, 5)
    assert pixels(page) != before
    box = page.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + 4, box["y"] + 4)
    assert live(page).startswith("Nothing picked")
    page.mouse.move(5, 5)
    assert pixels(page) == before


def test_drag_moves_and_does_not_pick(open_page):
    page = open_page("small")
    page.get_by_role("button", name="Zoom in").click()
    settled(page)
    x, y = place(page, 23)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y - 30, steps=4)
    page.mouse.up()
    assert place(page, 23) == pytest.approx((x + 40, y - 30), abs=1)
    assert live(page) == ""


def test_wheel_zooms_with_ctrl_only_and_keeps_the_place(open_page):
    page = open_page("small")
    x, y = place(page, 23)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -60)
    page.keyboard.up("Control")
    page.wait_for_function(f"{VIEW}.plot.view.zoom > 1.2")
    assert place(page, 23) == pytest.approx((x, y), abs=1)
    before = zoom(page)
    page.mouse.wheel(0, 200)
    page.wait_for_function("scrollY > 0")
    assert zoom(page) == before


# --- touch -----------------------------------------------------------------


@pytest.fixture
def phone(open_page):
    page = open_page(
        "small", viewport={"width": 390, "height": 844}, has_touch=True,
        is_mobile=True, device_scale_factor=3,
    )  # fmt: skip
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *points):
        touch.send(
            "Input.dispatchTouchEvent",
            {
                "type": f"touch{kind}",
                "touchPoints": [
                    {"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)
                ],
            },
        )

    return page, fingers


def test_pinch_zooms_then_one_finger_pans(phone):
    page, fingers = phone
    x, y = place(page, 23)
    fingers("Start", (x - 30, y), (x + 30, y))
    for apart in range(30, 75, 5):
        fingers("Move", (x - apart, y), (x + apart, y))
    fingers("End")
    assert 1.8 < zoom(page) < 2.6
    assert live(page) == ""
    x, y = place(page, 23)
    fingers("Start", (x, y))
    for moved in range(0, 60, 10):
        fingers("Move", (x, y - moved))
    fingers("End")
    settled(page)
    assert place(page, 23)[1] < y - 30
    assert page.evaluate("scrollY") == 0


def test_tap_picks_and_nothing_overflows(phone):
    page, _ = phone
    page.touchscreen.tap(*place(page, 23))
    page.wait_for_function("document.querySelector('[aria-live]').textContent")
    assert live(page).startswith("Net 2, epoch 4")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


# --- keyboard --------------------------------------------------------------


def test_every_key(open_page):
    page = open_page("small")
    canvas = page.locator("canvas")
    for _ in range(8):
        page.keyboard.press("Tab")
        if canvas.evaluate("c => c === document.activeElement"):
            break
    style = canvas.evaluate("c => getComputedStyle(c).outlineStyle")
    assert style == "solid"
    page.keyboard.press("+")
    assert zoom(page) == pytest.approx(1.6)
    before = place(page, 23)
    page.keyboard.press("ArrowLeft")
    settled(page)
    assert place(page, 23)[0] > before[0] + 20
    page.keyboard.press("ArrowUp")
    settled(page)
    assert place(page, 23)[1] > before[1] + 20
    page.keyboard.press("-")
    page.keyboard.press("0")
    assert zoom(page) == 1
    assert page.evaluate("scrollY") == 0
    page.keyboard.press("n")
    assert live(page).startswith("Net 0, epoch 10")
    page.keyboard.press("n")
    assert live(page).startswith("Net 1, epoch 10")
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert live(page).startswith("Net 11, epoch 10")
    page.keyboard.press(",")
    page.keyboard.press(",")
    assert live(page).startswith("Net 11, epoch 9")
    page.keyboard.press("Escape")
    assert live(page).startswith("Nothing picked")


def test_net_list_and_its_buttons(open_page):
    page = open_page("small")
    page.get_by_label("Net", exact=True).select_option(label="7")
    assert live(page).startswith("Net 7, epoch 10")
    page.get_by_role("button", name="Next net").click()
    assert live(page).startswith("Net 8")
    page.get_by_role("button", name="Clear the pick").click()
    assert live(page).startswith("Nothing picked")


# --- slider, colours, planes, themes ---------------------------------------


def test_slider_scrubs(open_page):
    page = open_page("small")
    slider = page.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext") == "all epochs"
    whole = pixels(page)
    page.mouse.click(*place(page, 23))
    slider.focus()
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "epoch 1"
    assert live(page).startswith("Net 2, epoch 1: accuracy 0.5")
    page.keyboard.press("ArrowRight")
    assert live(page).startswith("Net 2, epoch 2")
    page.keyboard.press("Escape")
    early = pixels(page)
    assert early != whole
    page.mouse.move(*place(page, 29))
    assert page.locator(".nws-tip").is_hidden()  # not reached yet
    slider.focus()
    page.keyboard.press("End")
    page.mouse.move(5, 5)
    assert pixels(page) == whole


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_play_reaches_the_end(open_page, motion):
    page = open_page("small", reduced_motion=motion)
    whole = pixels(page)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"{VIEW}.plot.time > 2 && {VIEW}.plot.time < 9")
    times = page.evaluate(
        f"""async () => {{ const seen = []; for (let k = 0; k < 5; k++) {{
        await new Promise(requestAnimationFrame); seen.push({VIEW}.plot.time); }}
        return seen; }}"""
    )
    assert any(time % 1 for time in times) == (motion == "no-preference")
    page.wait_for_function(f"{VIEW}.playing === null")
    assert pixels(page) == whole


def test_reduced_motion_jumps(open_page):
    page = open_page("small", reduced_motion="reduce")
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate(f"{VIEW}.plot.view.zoom") == pytest.approx(1.6)


def test_colour_and_legend(open_page):
    page = open_page("small")
    by_net = pixels(page)
    page.get_by_label("Colour").select_option(label="accuracy")
    by_accuracy = pixels(page)
    page.get_by_label("Colour").select_option(label="optimizer")
    by_optimizer = pixels(page)
    assert len({by_net, by_accuracy, by_optimizer}) == 3
    entry = page.get_by_role("button", name="Adam")
    entry.click()
    assert entry.get_attribute("aria-pressed") == "true"
    assert pixels(page) != by_optimizer
    page.keyboard.press("Escape")
    assert entry.get_attribute("aria-pressed") == "false"
    assert pixels(page) == by_optimizer
    assert page.get_by_role("button", name=HOSTILE).count() == 1


def test_other_plane(open_page):
    page = open_page("small")
    before = place(page, 23)
    page.get_by_label("Plane", exact=True).select_option(label="other")
    page.wait_for_timeout(900)
    assert place(page, 23) != pytest.approx(before, abs=3)
    page.mouse.move(*place(page, 23))
    assert page.locator(".nws-tip strong").inner_text() == "Net 2, epoch 4"


def test_theme_switch(open_page):
    page = open_page("small")
    canvas = page.locator("canvas")

    def corner():
        settled(page)
        return Image.open(io.BytesIO(canvas.screenshot())).getpixel((8, 8))[:3]

    assert corner() == (255, 255, 255)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"{VIEW}.plot.theme.paper === '#14181e'")
    assert corner() == (0x14, 0x18, 0x1E)


def test_two_on_a_page_do_not_meddle(open_page):
    page = open_page("two")
    first, second = page.locator(".nws-explorer").all()
    second.get_by_label("Net", exact=True).select_option(label="3")
    assert second.locator("[aria-live]").text_content().startswith("Net 3")
    assert first.locator("[aria-live]").text_content() == ""
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_without_scripts_and_on_paper(open_page):
    page = open_page("small", java_script_enabled=False)
    assert page.get_by_text("The figure shows the same points.").is_visible()
    page = open_page("small")
    assert page.get_by_text("The figure shows the same points.").is_hidden()
    page.emulate_media(media="print")
    assert page.locator(".nws-explorer").is_hidden()


# --- speed -----------------------------------------------------------------


def frames(page):
    """Milliseconds between frames while a hand drags, and of the drawing itself."""
    page.get_by_role("button", name="Zoom in").click()
    settled(page)
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y)
    between, drawing = page.evaluate(
        f"""async ([x, y]) => {{
        const canvas = document.querySelector("canvas"), {{ plot }} = {VIEW};
        const draw = plot.draw.bind(plot), between = [], drawing = [];
        plot.draw = () => {{
            const start = performance.now();
            draw();
            drawing.push(performance.now() - start);
        }};
        let before = 0;
        for (let k = 0; k < 60; k++) {{
            const now = await new Promise(requestAnimationFrame);
            if (before) between.push(now - before);
            before = now;
            canvas.dispatchEvent(new PointerEvent("pointermove", {{
                pointerId: 1, pointerType: "mouse", bubbles: true,
                clientX: x + 60 * Math.sin(k / 5), clientY: y + 3 * (k % 7) }}));
        }}
        return [between, drawing]; }}""",
        [x, y],
    )
    page.mouse.up()
    assert len(drawing) > 50
    return np.median(between), np.median(drawing), np.min(drawing)


def test_twelve_thousand_points_stay_fluid(open_page):
    """On a busy machine a frame waits its turn, so the quickest drawing counts."""
    few, many = frames(open_page("small")), frames(open_page("large"))
    for count, (between, drawing, quickest) in {120: few, 12_500: many}.items():
        print(
            f"{count} points dragged: {between:.1f} ms a frame, "
            f"{drawing:.1f} of them (at best {quickest:.1f}) for drawing"
        )
    assert many[2] < 1000 / 60
    assert many[0] < 10 * few[0]
