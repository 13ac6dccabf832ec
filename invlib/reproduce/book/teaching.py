"""What the instructor's guide says of every chapter, read from the chapters themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...exercises.asked import Exercise, exercises
from ...exercises.stored import cells
from ...markdown import table
from ..engine.store import ROOT

PAGE = "book/reference/teaching.md"


@dataclass(frozen=True)
class Chapter:
    """A chapter as a teacher plans it.

    Attributes:
        stem: name of its file, without the ending.
        title: its heading.
        minutes: that it takes to read, as it says itself.
        needs: what it takes for known.
        after: the chapters that it names for that, as stems.
        exercises: its exercises.
    """

    stem: str
    title: str
    minutes: int
    needs: tuple[str, ...]
    after: tuple[str, ...]
    exercises: tuple[Exercise, ...]

    @property
    def number(self) -> str:
        """Its number, as the contents count; the open front is a section of chapter 7."""
        return "7.1" if self.stem == "07_open_front" else str(int(self.stem[:2]))


def stems(root: Path) -> list[str]:
    """The chapters of the course, in the order of the contents."""
    return re.findall(r"file: book/(\d\w+)$", (root / "_toc.yml").read_text(), re.MULTILINE)


def chapter(stem: str, root: Path = ROOT) -> Chapter:
    """What a chapter says of itself.

    Raises:
        ValueError: if it has no table of what one needs, or does not say how long it takes.
    """
    notebook = cells(root / f"book/{stem}.ipynb")
    start = notebook[0].source
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", start, re.MULTILINE)[2:]
    time = dict(rows).get("time", "")
    if not (minutes := re.match(r"(\d+) minutes to read", time)):
        raise ValueError(f"{stem} does not say how many minutes it takes to read")
    needed = [(what, where) for what, where in rows if what != "time"]
    named = re.findall(r"\]\((\d\w+)\.ipynb\)", " ".join(where for _, where in needed))
    return Chapter(
        stem,
        start.splitlines()[0].strip("# "),
        int(minutes[1]),
        tuple(what for what, _ in needed),
        tuple(sorted({*named})),
        tuple(exercises(notebook)),
    )


def links(found: Sequence[Chapter]) -> str:
    """The numbers of chapters, each with its link from the guide's folder."""
    return ", ".join(f"[{c.number}](../{c.stem}.ipynb)" for c in found)


def overview(root: Path) -> str:
    """A table of all chapters: minutes, what comes before, number of exercises."""
    found = {stem: chapter(stem, root) for stem in stems(root)}
    lines = [
        (
            f"{c.number} [{c.title}](../{c.stem}.ipynb)",
            str(c.minutes),
            links([found[stem] for stem in c.after]) or "none",
            f'<a href="../../exercises/{c.stem}.ipynb" download>{len(c.exercises)}</a> '
            f"({sum(bool(e.stubs) for e in c.exercises)})",
        )
        for c in found.values()
    ]
    tasks = [e for c in found.values() for e in c.exercises]
    total = ("all", str(sum(c.minutes for c in found.values())), "")
    counts = f"{len(tasks)} ({sum(bool(e.stubs) for e in tasks)})"
    return table(("chapter", "minutes", "after", "exercises"), [*lines, (*total, counts)])


def facts(stem: str, root: Path) -> str:
    """What one chapter takes, needs and sets."""
    c = chapter(stem, root)
    tasks = [
        f"{{ref}}`{e.label}` *{e.title}*{'' if e.stubs else ' (thought)'}" for e in c.exercises
    ]
    before = links([chapter(stem, root) for stem in c.after])
    return table(
        ("to read", f"{c.minutes} minutes"),
        [
            ("needs", "; ".join(c.needs)),
            *([("after", before)] if before else []),
            ("exercises", "; ".join(tasks)),
        ],
    )


def tables(root: Path = ROOT) -> dict[str, Callable[[Path], str]]:
    """The tables of the guide by the names of their marks."""
    return {"course": overview, **{f"facts_{s}": partial(facts, s) for s in stems(root)}}
