"""Every page of the built book, as a reader's browser sees it."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from places import places
from playwright.sync_api import Page
from widget_states import widget_models

from invlib.reproduce.book.address import address

from .looking import (
    CHAPTER,
    HTML,
    PHOTOGRAPHED,
    ROOT,
    SIZES,
    complaints_of,
    darkened,
    faults,
    mathematics,
    pictures,
    printed,
    sliders,
    width,
)

PAGES = sorted(str(p.relative_to(HTML)) for p in (HTML / "book").rglob("*.html"))
SLIDES = sorted(str(p.relative_to(HTML)) for p in (HTML / "slides").glob("*.html"))


def slides_in(name: str) -> int:
    """How many sliders the notebook of a page stores."""
    notebook = (ROOT / name).with_suffix(".ipynb")
    if not notebook.exists():
        return 0
    return sum(model["model_name"] == "IntSliderModel" for model in widget_models(notebook))


def test_the_book_was_built() -> None:
    assert PAGES, f"no pages in {HTML}: run `make book` first"


def test_no_page_names_a_place_that_was_not_given() -> None:
    """The address of the build, or none; its pages, its notebooks and its citation."""
    files = [p for p in HTML.rglob("*") if p.suffix in (".html", ".ipynb", ".md", ".cff")]
    where = address()
    given = places(f"{where.repository} {where.site}")
    read = [p for p in files if "_static" not in p.parts]  # scripts of others name their own
    found = {str(p.relative_to(HTML)): places(p.read_text("utf-8", "ignore")) for p in read}
    assert len(found) > len(PAGES)
    assert {name: each - given for name, each in found.items() if each - given} == {}


def read(name: str, page: Page, place: str) -> list[str]:
    """Open a page and use what is on it; what a reader complains of."""
    complaints = complaints_of(page, place)
    page.goto(f"{place}/{name}", wait_until="load")
    complaints += mathematics(page)
    count = slides_in(name)
    if count:
        page.wait_for_selector(".widget-slider [role=slider]")
    found = page.locator(".widget-slider [role=slider]").count()
    if found != count:
        complaints.append(f"{found} sliders instead of {count}")
    return complaints + pictures(page) + sliders(page)


@pytest.mark.parametrize("name", PAGES)
def test_a_reader_has_nothing_to_complain_of(name: str, page: Page, address: str, axe: str) -> None:
    """Of any width, in the dark and on paper, and whether it is seen or heard."""
    complaints = read(name, page, address)
    for size in reversed(SIZES):
        complaints += width(page, name, size)
    complaints += printed(page, name)
    if PHOTOGRAPHED:
        darkened(page, name)
    complaints += faults(page, axe, code=name == CHAPTER)
    assert not complaints, "\n".join(complaints)


LINK = re.compile(r'(?:href|src)="([^"#?]+)(?:[#?][^"]*)?"')


def test_links_lead_somewhere(place: str, unpacked: str) -> None:
    """On a server and on a disk: to pages, pictures, scripts and the notebooks to take away."""
    root = HTML if place != unpacked else Path(unquote(urlsplit(unpacked).path))
    found = 0
    for file in root.rglob("*.html"):
        links = {unquote(html.unescape(link)) for link in LINK.findall(file.read_text("utf-8"))}
        links = {link for link in links if not re.match(r"[a-z]+:|//", link)}
        if "_static" in file.parts or file.name == "404.html":  # of a theme; tried on its own
            continue
        found += len(links)
        lost = [link for link in links if not (file.parent / link).exists()]
        assert lost == [], file.relative_to(root)
    assert found > 10 * len(PAGES)


@pytest.mark.parametrize("name", [n for i, n in enumerate(PAGES) if slides_in(n) or i % 5 == 0])
def test_nor_has_a_reader_without_a_network(name: str, page: Page, unpacked: str) -> None:
    """The pages are the same, and so are their scripts: those with sliders, and some others."""
    complaints = read(name, page, unpacked)
    assert not complaints, "\n".join(complaints)


def test_the_teaching_page_leads_to_the_slides(page: Page, place: str) -> None:
    page.goto(f"{place}/book/reference/teaching.html", wait_until="load")
    links = [a.get_attribute("href") or "" for a in page.locator(".bd-article a").all()]
    assert [f"../../{name}" for name in SLIDES] == [link for link in links if "slides/" in link]
    assert len(SLIDES) == 3


@pytest.mark.parametrize("name", SLIDES)
def test_slides_show_their_formulas_and_turn_by_a_key(name: str, page: Page, place: str) -> None:
    complaints = complaints_of(page, place)
    page.goto(f"{place}/{name}", wait_until="load")
    page.wait_for_selector("mjx-container", state="attached")
    page.evaluate("() => MathJax.startup.promise")
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    page.keyboard.press("ArrowRight")
    page.wait_for_function("scrollY > innerHeight / 2")
    assert complaints + pictures(page) == []
