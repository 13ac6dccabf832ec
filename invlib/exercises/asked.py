"""The exercises of a chapter: what they ask, and the cells of code that belong to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .stored import Cell

MARKS = re.compile(
    r"^(?P<fence>:{3,}|`{3,})\{exercise\} (?P<title>[^\n]*)\n:label: (?P<label>\S+)\n"
    r"(?P<body>.*?)^(?P=fence)$"
    r"|^`{3,}\{solution-(?P<edge>start|end)\}"
    r"|^:{3,}\{dropdown\} (?P<folded>Solution)$",
    re.MULTILINE | re.DOTALL,
)
EQUATION = re.compile(r"^`{3,}\{math\}\n:label: (\S+)\n(.*?)^`{3,}$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"^:{3,}\{prf:(\w+)\} (.*)\n:label: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Exercise:
    """An exercise of a chapter.

    Attributes:
        label: its name, such as ``ex-undo``.
        title: its heading.
        question: its text, in MyST.
        stubs: cells to complete, each with its check; none where only thought is asked for.
        solution: cells of its solution.
    """

    label: str
    title: str
    question: str
    stubs: tuple[str, ...]
    solution: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """What the text of any chapter may point to: equations, and titles of statements, by label."""

    equations: Mapping[str, str]
    statements: Mapping[str, str]


def exercises(chapter: Iterable[Cell]) -> list[Exercise]:
    """The exercises of a chapter, in their order."""
    found: list[Exercise] = []
    place = ""  # where the next cell of code belongs to
    for cell in chapter:
        if cell.kind == "code" and place:
            last = found[-1]
            found[-1] = (
                replace(last, stubs=(*last.stubs, cell.source))
                if place == "stubs"
                else replace(last, solution=(*last.solution, cell.source))
            )
        for mark in MARKS.finditer(cell.source if cell.kind == "markdown" else ""):
            if mark["label"]:
                found.append(Exercise(mark["label"], mark["title"], mark["body"].strip(), (), ()))
            place = "stubs" if mark["label"] else "solution" if mark["edge"] == "start" else ""
    return found


def named(chapters: Iterable[Sequence[Cell]]) -> Named:
    """What all chapters have named."""
    text = "\n\n".join(c.source for chapter in chapters for c in chapter if c.kind == "markdown")
    return Named(
        {label: body.strip() for label, body in EQUATION.findall(text)},
        {label: f"{kind} *{title}*" for kind, title, label in NAMED.findall(text)},
    )


def plain(text: str, names: Named) -> str:
    """A question as plain Jupyter shows it: equations are quoted, statements have their titles.

    Raises:
        KeyError: if the question names what no chapter has.
    """
    quoted = dict.fromkeys(re.findall(r"\{eq\}`([^`]+)`", text))
    text = re.sub(r"\{eq\}`([^`]+)`", r"**(\1)**", text)
    text = re.sub(r"\{prf:ref\}`([^`]+)`", lambda found: names.statements[found[1]], text)
    text = re.sub(r"\[([^\]]+)\]\([^)]+\.(?:ipynb|md)\)", r"\1", text)
    return "\n\n".join([text, *(f"**({n})**\n\n$$\n{names.equations[n]}\n$$" for n in quoted)])
