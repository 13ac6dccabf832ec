"""What a reader may complain of on an open page; each function returns the complaints."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Literal

from playwright.sync_api import ConsoleMessage, Error, Page, Request

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
SCREENS = HTML.parent / "screens"
PHOTOGRAPHED = "INVLIB_SCREENS" in os.environ  # pictures take longer than all else
CHAPTER = "book/03_why_naive_fails.html"  # has all that a page can have
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}  # points
PAPER = {"width": 718, "height": 1047}  # A4 within Chromium's margins
SOON = 400  # milliseconds in which the theme notices that a page has changed
MOMENTS = 50  # tenths of a second that a page has to come to rest
TALLEST = 60_000  # of a JPEG file

UNSET = """() => [...document.querySelectorAll('.math')]
    .filter(m => !m.querySelector('mjx-container') || m.querySelector('mjx-merror'))
    .map(m => m.textContent.slice(0, 80))"""
WITHOUT_ALT = """() => [...document.querySelectorAll('img')]
    .filter(i => !(i.getAttribute('alt') || '').trim())
    .map(i => i.outerHTML.slice(0, 80))"""
TOO_WIDE = """() => {
    const root = document.documentElement, most = root.clientWidth;
    if (root.scrollWidth <= most) return [];
    const scrolls = e => e && e !== document.body && (
        ['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)
        || scrolls(e.parentElement));
    return [...document.querySelectorAll('body *')]
        .filter(e => e.getBoundingClientRect().right > most + 1 && !scrolls(e.parentElement))
        .map(e => e.outerHTML.slice(0, 120)).concat('the page scrolls sideways').slice(0, 4);
}"""
COVERED = """() => [...document.querySelectorAll('.math .eqno')].filter(number => {
    const a = number.getBoundingClientRect();
    const formula = number.parentElement.querySelector('mjx-container');
    if (!formula) return false;
    const b = formula.getBoundingClientRect();
    return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}).map(number => number.textContent)"""
CUT = """() => {
    const most = document.querySelector('.bd-article')?.getBoundingClientRect().right;
    return [...document.querySelectorAll('.bd-article :is(table, .math mjx-container)')]
        .filter(e => e.getBoundingClientRect().right > most + 2)
        .map(e => e.textContent.trim().slice(0, 80));
}"""
UNMARKED = """() => [...document.querySelectorAll('.bd-article :is(table, pre, mjx-container)')]
    .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1
        && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX))
    .filter(e => getComputedStyle(e).maskImage == 'none')
    .map(e => e.outerHTML.slice(0, 120)).slice(0, 4)"""
FOLDED = ".bd-article details:not([open]), .bd-article .toggle-hidden"
WITHOUT_FORMULAS = """() => {
    for (const formula of document.querySelectorAll('mjx-container')) formula.replaceWith('x');
}"""
ONE_OF_EACH = """code => {
    const many = code ? 'dl.py ~ dl.py' : 'dl.py ~ dl.py, .highlight';
    for (const e of document.querySelectorAll(many)) e.remove();
}"""
FAULTS = """async options => {
    const found = (await axe.run(document, options)).violations;
    return found.filter(v => ['serious', 'critical'].includes(v.impact) || v.id == 'heading-order')
        .flatMap(v => v.nodes.map(n => `${v.id}: ${n.html.slice(0, 120)} (${n.failureSummary})`));
}"""
STRUCTURE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    "rules": {"color-contrast": {"enabled": False}, "heading-order": {"enabled": True}},
    "resultTypes": ["violations"],
}
CONTRAST = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SHOWN = """slider => {
    const box = slider.closest('.widget-vbox');
    return [...box.querySelectorAll('img')].filter(i => i.offsetParent).map(i => i.src).join();
}"""


def complaints_of(page: Page, place: str) -> list[str]:
    """A list that fills while a page loads: errors of scripts, and what is asked of others."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.on("requestfailed", lambda request: found.append(f"not loaded: {request.url}"))

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error":
            found.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if not request.url.startswith((place, "data:", "blob:")):
            found.append(f"asks another server: {request.url}")

    page.on("console", heard)
    page.on("request", asked)
    return found


def mathematics(page: Page) -> list[str]:
    """Formulas that are not set, or set as an error."""
    if not page.locator(".math").count():
        return []
    page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
    page.evaluate("() => MathJax.startup.promise")
    return [f"formula not set: {text}" for text in page.evaluate(UNSET)]


def pictures(page: Page) -> list[str]:
    """Pictures without a description."""
    return [f"no alt text: {tag}" for tag in page.evaluate(WITHOUT_ALT)]


def sliders(page: Page) -> list[str]:
    """Sliders that do not change their picture when an arrow key is pressed."""
    stuck = []
    handles = page.locator(".widget-slider [role=slider]")
    for i in range(handles.count()):
        handle = handles.nth(i)
        before = handle.evaluate(SHOWN)
        handle.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(100)  # milliseconds
        if not before or handle.evaluate(SHOWN) == before:
            stuck.append(f"slider {i} does not change its picture")
    return stuck


def width(page: Page, name: str, size: str) -> list[str]:
    """What makes a page scroll sideways, or scrolls without a sign; keeps a picture if asked for.

    A page that changes its width moves its sidebars for a while; it is judged when it rests.
    """
    across, high = SIZES[size]
    page.set_viewport_size({"width": across, "height": high})
    found: list[str] = []
    for _ in range(MOMENTS):
        page.wait_for_timeout(100)
        found = [f"too wide: {tag}" for tag in page.evaluate(TOO_WIDE)]
        found += [f"no sign that it goes on: {tag}" for tag in page.evaluate(UNMARKED)]
        if not found:
            break
    if PHOTOGRAPHED:
        photographed(page, name, size)
    return [f"{size}: {fault}" for fault in [*found, *covered(page)]]


def printed(page: Page, name: str) -> list[str]:
    """What stays folded on paper, or is cut; a page that has been printed is as it was before.

    Keeps a picture of it on paper if asked for.
    """
    before = page.locator(FOLDED).count()
    size = page.viewport_size
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.set_viewport_size(PAPER)
    folded = page.locator(FOLDED).count()
    page.wait_for_timeout(SOON)
    cut = [f"cut on paper: {text}" for text in page.evaluate(CUT)]
    if PHOTOGRAPHED:
        photographed(page, name, "print")
    page.emulate_media(media="screen")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    if size:
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
    page.wait_for_timeout(SOON)
    after = page.locator(FOLDED).count()
    complaints = cut + ([f"on paper {folded} parts stay folded"] if folded else [])
    return complaints + ([f"{after} parts are folded, not {before}"] if after != before else [])


def darkened(page: Page, name: str) -> None:
    """Keep a picture of a page as it is in the dark."""
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    photographed(page, name, "dark")
    page.evaluate("document.documentElement.dataset.theme = 'light'")


def photographed(page: Page, name: str, what: str) -> None:
    """Keep a picture of a page."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    file = SCREENS / f"{name.replace('/', '-').removesuffix('.html')}-{what}.jpg"
    tall = page.evaluate("document.documentElement.scrollHeight") > TALLEST
    photograph = partial(page.screenshot, path=file, full_page=not tall, type="jpeg", quality=60)
    try:
        photograph()
    except Error:  # on a busy machine Chromium sometimes has no picture ready
        page.wait_for_timeout(2000)
        photograph()


def covered(page: Page) -> list[str]:
    """Formulas that lie under their own number."""
    return [f"number {text} covers its formula" for text in page.evaluate(COVERED)]


def faults(page: Page, axe: str, *, code: bool = False) -> list[str]:
    """What axe-core calls serious or critical, and headings out of order.

    Args:
        page: an open page.
        axe: the script of axe-core.
        code: whether to look at the colours of code, too, which takes long.
    """
    page.evaluate(WITHOUT_FORMULAS)  # of thousands of elements, which it would go through
    page.evaluate(axe)
    page.add_style_tag(content="* { transition: none !important; }")  # colours change at once
    found = page.evaluate(FAULTS, STRUCTURE)
    page.evaluate(ONE_OF_EACH, code)  # functions of a module have the same colours
    for scheme in SCHEMES:
        page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        page.emulate_media(color_scheme=scheme)  # the page for who is lost follows the system
        found += page.evaluate(FAULTS, CONTRAST)
    return [" ".join(text.split()) for text in dict.fromkeys(found)]
