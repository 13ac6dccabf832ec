"""A page that is printed to a file: all that a reader would open by hand is open, and set."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from pypdf import PdfReader
from widget_states import widget_models

from invlib.reproduce.book import pdf

from .looking import CHAPTER, HTML, ROOT
from .test_pages import PAGES, slides_in


@pytest.fixture(scope="module")
def paper(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> PdfReader:
    """A chapter that has all that a page can have."""
    target = tmp_path_factory.mktemp("paper") / "chapter.pdf"
    pdf.printed(browser, HTML / CHAPTER, target)
    return PdfReader(target)


def test_what_is_folded_on_a_screen_is_open_on_paper(paper: PdfReader) -> None:
    text = " ".join(word for page in paper.pages for word in page.extract_text().split())
    assert "It goes from" in text  # the answer of a prediction
    assert "Subtract (3.4) from" in text  # a proof
    assert "find_spec" in text  # a cell that hides itself
    assert r"\frac" not in text and r"\qquad" not in text  # formulas are set


def test_a_slider_lays_out_its_frames_on_paper(browser: Browser, tmp_path: Path) -> None:
    name = next(name for name in PAGES if slides_in(name))
    models = widget_models((ROOT / name).with_suffix(".ipynb"))
    frames = sum(str(model["state"].get("value", "")).startswith("<img") for model in models)
    pdf.printed(browser, HTML / name, tmp_path / "page.pdf")
    assert sum(len(page.images) for page in PdfReader(tmp_path / "page.pdf").pages) >= frames > 1


def test_without_a_browser_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def started() -> None:
        with pdf.chromium():
            pass

    monkeypatch.setattr(shutil, "which", lambda _: "/nowhere/chromium")
    with ThreadPoolExecutor(1) as another:  # the browser of these tests has the thread of its own
        with pytest.raises(SystemExit, match=r"no Chromium that starts .*: run `make chromium`"):
            another.submit(started).result()


UNBROKEN = """() => [...document.querySelectorAll('.bd-article pre')].filter(code => {
    for (let e = code; !e.matches('.bd-article'); e = e.parentElement) {
        const style = getComputedStyle(e);
        if (style.breakInside != 'auto' || style.overflowY != 'visible') return true;
    }
}).map(code => code.textContent.slice(0, 80))"""


def test_long_code_goes_on_over_sheets(page: Page, address: str) -> None:
    """Instead of leaving an empty sheet with the head of its frame."""
    page.goto(f"{address}/{CHAPTER}", wait_until="load")
    page.emulate_media(media="print")
    assert page.locator(".bd-article pre").count() > 5
    assert page.evaluate(UNBROKEN) == []
