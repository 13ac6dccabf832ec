"""Every page of the built book, as a reader's browser sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page
from widget_states import widget_models

from .looking import HTML, SIZES, mathematics, pictures, sliders, width

PAGES = sorted(str(p.relative_to(HTML)) for p in (HTML / "book").rglob("*.html"))
ROOT = Path(__file__).parents[2]


def slides_in(name: str) -> int:
    """How many sliders the notebook of a page stores."""
    notebook = (ROOT / name).with_suffix(".ipynb")
    if not notebook.exists():
        return 0
    return sum(model["model_name"] == "IntSliderModel" for model in widget_models(notebook))


def test_the_book_was_built() -> None:
    assert PAGES, f"no pages in {HTML}: run `make book` first"


@pytest.mark.parametrize("name", PAGES)
def test_a_reader_has_nothing_to_complain_of(name: str, page: Page, address: str) -> None:
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    page.on(
        "console",
        lambda message: (
            complaints.append(f"console: {message.text}") if message.type == "error" else None
        ),
    )
    page.on("requestfailed", lambda request: complaints.append(f"not loaded: {request.url}"))
    page.on(
        "request",
        lambda request: (
            complaints.append(f"asks another server: {request.url}")
            if not request.url.startswith((address, "data:", "blob:"))
            else None
        ),
    )
    page.goto(f"{address}/{name}", wait_until="load")
    complaints += mathematics(page)
    count = slides_in(name)
    if count:
        page.wait_for_selector(".widget-slider [role=slider]")
    found = page.locator(".widget-slider [role=slider]").count()
    if found != count:
        complaints.append(f"{found} sliders instead of {count}")
    complaints += pictures(page) + sliders(page)
    for size in SIZES:
        complaints += width(page, name, size)
    assert not complaints, "\n".join(complaints)
