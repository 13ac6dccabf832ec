"""Lectures are slides with one idea each, and take numbers and figures from the chapters."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chapters import ROOT

from invlib.reproduce.book import slides

LECTURES = sorted((ROOT / slides.SOURCES).glob("lecture*.md"))
PER_LECTURE = pytest.mark.parametrize("path", LECTURES, ids=lambda p: p.stem)


class Page(HTMLParser):
    """What a page holds: its sections, pictures and files."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections, self.pictures, self.files = 0, dict[str, str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.sections += tag == "section"
        if tag == "img":
            self.pictures[found["src"]] = found["alt"]
        self.files += [found[k] for k in ("src", "href") if k in found]


def shown_words(slide: slides.Slide) -> int:
    """The words on a slide, without formulas, code, numbers by name and figures."""
    text = re.sub(r"\$\$.*?\$\$|```.*?```|\$[^$]*\$", " ", slide.text, flags=re.DOTALL)
    return len(re.findall(r"[A-Za-z]+", re.sub(r"\{\w+(?::\w+)?\}`[^`]*`", " ", text)))


def test_there_are_three_lectures() -> None:
    assert [path.stem for path in LECTURES] == ["lecture1", "lecture2", "lecture3"]


@PER_LECTURE
def test_a_lecture_has_few_slides_each_with_a_heading_notes_and_room(path: Path) -> None:
    found = slides.slides(path.read_text())
    assert 12 <= len(found) <= 15
    for slide in found:
        assert (
            len(re.findall(r"^#+ .+$", re.sub(r"```.*?```", "", slide.text, flags=re.S), re.M)) == 1
        )
        assert len(slide.notes) > 20, slide.text
        assert shown_words(slide) <= 75, slide.text
        assert len(slides.FIGURE.findall(slide.text)) <= 1


@PER_LECTURE
def test_no_measured_number_is_typed(path: Path) -> None:
    assert re.findall(r"\d\s*(?:dB|%|per cent)", path.read_text()) == []


@PER_LECTURE
def test_a_lecture_is_built_with_its_figures(path: Path, tmp_path: Path) -> None:
    text = slides.page(path.read_text(), tmp_path)
    page = Page(text)
    assert page.sections == len(slides.slides(path.read_text()))
    assert len(page.pictures) >= 5
    for name, alt in page.pictures.items():
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG") and len(alt) > 20
    assert not re.search(r"\{(?:glue:text|figure)\}|TITLE|SLIDES|\$\$", text)
    ours = {path.name for path in (ROOT / slides.SOURCES).iterdir()} | {
        "mathjax.js",
        "data:,",
    }  # no icon is asked for
    assert {*page.files} <= {*page.pictures} | ours


def test_a_slide_shows_formulas_numbers_and_pictures(tmp_path: Path) -> None:
    lecture = (
        "# A < B\n\n$a < b$\n\n$$\nc\n$$\n<!-- Say\nit. -->\n\n---\n\n## Next\n\n"
        "{glue:text}`03_why_naive_fails/naive_first:.0f` dB\n\n"
        "{figure}`03_why_naive_fails/fig-drift`\n"
    )
    text = slides.page(lecture, tmp_path)
    assert "<title>A &lt; B</title>" in text
    assert r"\(a &lt; b\)" in text and r"\[c\]" in text
    assert "<aside>Say it.</aside>" in text and "<aside></aside>" in text
    assert re.search(r"<p>-\d+ dB</p>", text)
    assert [*Page(text).pictures] == ["fig-drift.png"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# A\n\n{glue:text}`03_why_naive_fails/nothing`", "number 03_why_naive_fails/nothing"),
        ("# A\n\n{figure}`03_why_naive_fails/fig-nothing`", "no figure fig-nothing"),
    ],
)
def test_what_no_chapter_has_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=problem):
        slides.page(text, tmp_path)
