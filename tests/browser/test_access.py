"""Readers who hear the page, who have no mouse, who search, who print, and who are lost."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .looking import CHAPTER, FOLDED, SIZES, complaints_of, covered, faults
from .test_pages import SLIDES


@pytest.mark.parametrize("name", [*SLIDES, "search.html", "404.html"])
def test_nobody_is_shut_out(name: str, page: Page, address: str, axe: str) -> None:
    """Of what is no page of the book; of the pages, the test of what readers complain of asks."""
    page.goto(f"{address}/{name}", wait_until="load")
    complaints = faults(page, axe)
    assert not complaints, "\n".join(complaints)


def test_a_fault_would_be_noticed(page: Page, axe: str) -> None:
    page.set_content(
        "<html lang=en><title>t</title><h1>a</h1><h3>b</h3><img src=x><p style='color:#bbb'>pale"
    )
    text = "\n".join(faults(page, axe))
    assert all(rule in text for rule in ("image-alt", "color-contrast", "heading-order"))


@pytest.mark.parametrize("size", SIZES)
def test_numbers_of_formulas_cover_none(size: str, page: Page, address: str) -> None:
    across, high = SIZES[size]
    page.set_viewport_size({"width": across, "height": high})
    page.goto(f"{address}/{CHAPTER}", wait_until="load")
    page.evaluate("() => MathJax.startup.promise")
    assert page.locator(".math .eqno").count() > 3
    assert covered(page) == []


def test_the_keyboard_leads_through_the_page(page: Page, address: str) -> None:
    """First to the content, then to everything that can be used; and it is always seen where."""
    page.goto(f"{address}/book/intro.html", wait_until="load")
    page.keyboard.press("Tab")
    assert "main content" in page.evaluate("document.activeElement.textContent").lower()
    page.keyboard.press("Enter")
    doors = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        doors.add(page.evaluate("document.activeElement.getAttribute('href') || ''"))
    for door in ("03_why_naive_fails", "command_line", "reproduce", "figures/fig2"):
        assert any(door in href for href in doors), door


def test_the_search_finds_a_page(page: Page, place: str) -> None:
    complaints = complaints_of(page, place)
    page.goto(f"{place}/search.html?q=certificate", wait_until="load")
    page.wait_for_selector("#search-results li a")
    links = page.locator("#search-results li a").all()
    assert any("08_certificates" in (link.get_attribute("href") or "") for link in links)
    assert complaints == []


def test_a_word_of_the_glossary_explains_itself(page: Page, place: str) -> None:
    page.goto(f"{place}/{CHAPTER}", wait_until="load")
    word = page.locator("a:has(> .glossary-term)", has_text="certificate").first
    page.wait_for_function("document.querySelector('a:has(> .glossary-term)')._tippy")
    word.hover()
    page.wait_for_selector(".tippy-content")
    assert "evidence about an inversion" in page.locator(".tippy-content").inner_text()


def test_printed_everything_is_open(page: Page, address: str) -> None:
    page.goto(f"{address}/{CHAPTER}", wait_until="load")
    page.wait_for_selector(".widget-slider [role=slider]")
    folded = page.locator(FOLDED)
    before = folded.count()
    assert before > 0
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert folded.count() == 0
    frames = page.locator(".printed-frames img:visible")
    most = int(page.locator("[role=slider]").first.get_attribute("aria-valuemax").split(".")[0])
    assert frames.count() >= most + 1
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert folded.count() == before


def test_who_is_lost_finds_home_from_any_depth(page: Page, address: str) -> None:
    for place in ("nothing.html", "book/figures/fig_one.html", "book/a/b/c/"):
        answer = page.goto(f"{address}/{place}")
        assert answer is not None and answer.status == 404
        page.wait_for_selector("html[data-ready]")
        assert page.locator("#home").get_attribute("href") == "/index.html"
    page.goto(f"{address}/book/certificates_8.html")
    assert page.locator("#words").input_value() == "certificates"


def test_who_is_lost_on_the_published_site_finds_an_edition(page: Page, editions: str) -> None:
    """Home is the edition that one was in, else the newest; never the root of the server."""
    for place, home in (
        ("lost.html", "v1.2"),
        ("v0.1/book/old.html", "v1.2"),
        ("v1.2/a/b/", "v1.2"),
        ("latest/a.html", "latest"),
    ):
        answer = page.goto(f"{editions}/{place}")
        assert answer is not None and answer.status == 404
        page.wait_for_selector("html[data-ready]")
        assert page.locator("#home").get_attribute("href") == f"/course/{home}/index.html"
        assert page.locator("#search").get_attribute("action") == f"/course/{home}/search.html"
