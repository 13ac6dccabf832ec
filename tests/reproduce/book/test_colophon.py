"""What stands below a page of the book: how long its code ran, and with what."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from chapters import ROOT
from docutils import nodes
from docutils.utils import new_document

sys.path.insert(0, str(ROOT / "book/_ext"))
colophon = pytest.importorskip("colophon")
paper_numbers = pytest.importorskip("paper_numbers")


def app(root: Path, **ran: object) -> SimpleNamespace:
    """A build that has executed some pages, and knows of two."""
    builder = SimpleNamespace(get_relative_uri=lambda page, other: f"{Path(other).name}.html")
    env = SimpleNamespace(
        nb_metadata=ran,
        found_docs={"book/01", "book/02"},
        metadata={"book/01": {}, "book/02": {}},
        docname="book/02",
    )
    return SimpleNamespace(srcdir=root, env=env, builder=builder)


def context() -> dict[str, object]:
    return {"body": "<p>text</p>", "pathto": lambda page: f"to/{page}", "next": None}


def test_an_executed_page_says_how_long_and_with_what(tmp_path: Path) -> None:
    values = context()
    build = app(tmp_path, **{"book/01": {"exec_data": {"runtime": 12.4}}})
    colophon.add(build, "book/01", "", values, None)
    assert "ran in 12 seconds" in values["body"]
    assert f"torch {torch.__version__.partition('+')[0]}" in values["body"]
    assert 'href="to/book/appendix/environment"' in values["body"]


def test_a_page_without_code_says_nothing(tmp_path: Path) -> None:
    values = context()
    colophon.add(app(tmp_path), "book/02", "", values, None)
    assert values["body"] == "<p>text</p>"


def test_a_figure_has_the_versions_that_it_was_measured_with(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    stored = {"versions": {"torch": "1.2.3"}, "device": "a CPU"}
    (tmp_path / "results/fig9.json").write_text(json.dumps(stored))
    assert colophon.made(app(tmp_path), "book/figures/fig9") == (
        "Stored outputs, measured with torch 1.2.3 (a CPU)."
    )


def test_a_neighbour_has_the_minutes_that_its_page_gives(tmp_path: Path) -> None:
    build = app(tmp_path)
    tree = new_document("")
    tree += nodes.paragraph("", "35 minutes to read; the code runs in less than one")
    colophon.minutes(build, tree)
    values = context() | {"next": {"title": "DPM", "link": "02.html"}}
    colophon.add(build, "book/01", "", values, None)
    assert values["next_title"] == 'DPM<span class="minutes">, 35 minutes</span>'


def test_only_figures_of_the_paper_lose_their_running_number() -> None:
    body = '<span class="caption-number">Fig. 3 </span><span>text</span>'
    for page, wanted in (("book/figures/fig2", "<span>text</span>"), ("book/01", body)):
        values = {"body": body}
        paper_numbers.drop(None, page, "", values, None)
        assert values["body"] == wanted
