"""Sliders as Colab shows them: its ipywidgets 7 has no stack, and scripts of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import pytest
from ipywidgets.embed import embed_data
from playwright.sync_api import Page

from invlib import notebook

from .looking import complaints_of

MANAGER = "html-manager-7"  # of ipywidgets 7, in the folder of these tests
OLD = {"@jupyter-widgets/base": "1.2.0", "@jupyter-widgets/controls": "1.5.0"}
PAGE = """<!doctype html><html lang="en"><title>A cell of Colab</title><body><div>
<script type="application/vnd.jupyter.widget-state+json">{state}</script>
<script type="application/vnd.jupyter.widget-view+json">{view}</script></div>
<script src="http://old/embed.js"></script>"""


def as_seven(state: dict[str, Any]) -> dict[str, Any]:
    """The state of widgets, in the words of ipywidgets 7: versions, and titles of tabs."""
    for model in state.values():
        if model["model_name"] == "HTMLStyleModel":
            model["model_name"] = model["state"]["_model_name"] = "DescriptionStyleModel"
        model["model_module_version"] = OLD[model["model_module"]]
        values = model["state"]
        for kind in ("model", "view"):
            if f"_{kind}_module" in values:
                values[f"_{kind}_module_version"] = OLD[values[f"_{kind}_module"]]
        values.pop("titles", None)
    return state


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> str:
    """A page with the slider that the book makes where widgets have no stack."""
    monkeypatch.delattr(ipywidgets, "Stack")
    figures = []
    for number in range(3):
        figure, ax = plt.subplots(figsize=(2, 1))
        ax.plot([0, number])
        figures.append(figure)
    shown = notebook.slides(figures, alt=["first", "second", "last"], description="frame")
    data = embed_data(views=[shown])
    state = {**data["manager_state"], "state": as_seven(data["manager_state"]["state"])}
    [view] = data["view_specs"]
    return PAGE.format(state=json.dumps(state).replace("</", "<\\/"), view=json.dumps(view))


def test_a_slider_leafs_through_its_frames(cell: str, page: Page, scripts: Path) -> None:
    """One frame is seen, no header of a tab, and an arrow key shows the next frame."""
    complaints = complaints_of(page, "http")
    for file in (scripts / MANAGER).glob("*.js"):
        page.route(f"**/{file.name}", lambda route, _, path=file: route.fulfill(path=path))
    page.route("http://old/page", lambda route: route.fulfill(body=cell, content_type="text/html"))
    page.goto("http://old/page", wait_until="load")
    page.wait_for_selector(".ui-slider-handle")
    frames = page.locator(".invlib-frames img:visible")
    assert frames.count() == 1 and frames.get_attribute("alt") == "first"
    assert page.locator(".invlib-frames .p-TabBar:visible").count() == 0
    page.locator(".ui-slider-handle").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".invlib-frames img[alt=second]")
    assert frames.count() == 1 and frames.get_attribute("alt") == "second"
    assert complaints == []
