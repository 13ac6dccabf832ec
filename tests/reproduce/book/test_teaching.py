"""The instructor's guide is about the chapters that there are, and names what they have."""

from __future__ import annotations

import re

import pytest
from chapters import ROOT

from invlib.reproduce.book import teaching

GUIDE = (ROOT / teaching.PAGE).read_text()
STEMS = teaching.stems(ROOT)


def sections(text: str) -> dict[str, str]:
    """The sections on chapters, by the chapter that the heading links to."""
    parts = re.split(r"^### \[[^\]]*\]\(\.\./(\w+)\.ipynb\)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def faults(stem: str, text: str) -> list[str]:
    """What is wrong with the section on a chapter."""
    own = re.sub(r"<!-- facts_.*<!-- /facts_\w+ -->", "", text, flags=re.DOTALL)
    known = {e.label for e in teaching.chapter(stem).exercises}
    named = re.findall(r"\{ref\}`(ex-[\w-]+)`", own)
    takeaways = re.search(r"\*\*Takeaways\.\*\*\n\n((?:\d\. .+\n)+)", own)
    wrong = [f"{label} is no exercise of it" for label in named if label not in known]
    if not named:
        wrong.append("sets no exercise")
    if not takeaways or re.findall(r"^\d", takeaways[1], re.MULTILINE) != [*"1234"]:
        wrong.append("has not four takeaways")
    marks = ("**Can be skipped.** ", "**Set.** ", "**A misunderstanding.** ", "*Ask:* ")
    return wrong + [f"lacks {mark}" for mark in marks if mark not in own]


def test_every_chapter_of_the_contents_has_its_section_and_no_other() -> None:
    assert [*sections(GUIDE)] == STEMS and len(STEMS) > 10


@pytest.mark.parametrize("stem", STEMS)
def test_a_section_has_four_takeaways_and_names_exercises_of_its_chapter(stem: str) -> None:
    assert faults(stem, sections(GUIDE)[stem]) == []


def test_a_wrong_section_would_be_noticed() -> None:
    good = sections(GUIDE)["03_why_naive_fails"]
    assert faults("03_why_naive_fails", good.replace("ex-undo", "ex-redo"))
    assert faults("03_why_naive_fails", good.replace("\n4. ", "\n5. "))
    assert faults("03_why_naive_fails", good.replace("*Ask:*", ""))


def test_plans_name_every_chapter_once_and_last_as_long_as_they_say() -> None:
    lecture, term = (GUIDE.split(f"### {name}")[1] for name in ("One lecture, ", "One term, "))
    minutes = [int(m) for m in re.findall(r"^\| (\d+) \|", lecture.split("###")[0], re.MULTILINE)]
    assert sum(minutes) == int(lecture.split()[0]) == 50
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", term, re.MULTILINE)
    assert [int(week) for week, _ in rows] == [*range(1, int(term.split()[0]) + 1)]
    links = re.findall(r"\((?:\.\./)(\w+)\.ipynb\)", " ".join(chapters for _, chapters in rows))
    assert links == STEMS


def test_what_a_chapter_says_of_itself_is_read() -> None:
    third = teaching.chapter("03_why_naive_fails")
    assert (third.title, third.number, third.after) == ("Why naive inversion fails", "3", ())
    assert third.minutes > 0 and [e.label for e in third.exercises] == ["ex-undo"]
    assert "03_why_naive_fails" in teaching.chapter("04_backward_euler").after


def test_exercises_of_the_week_exist() -> None:
    known = {e.label for stem in STEMS for e in teaching.chapter(stem).exercises}
    assert set(re.findall(r"\{ref\}`(ex-[\w-]+)`", GUIDE)) <= known
