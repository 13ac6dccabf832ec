"""The notebooks of exercises ask everything, give nothing away, and stand alone."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from chapters import ROOT

from invlib.exercises import __main__ as command
from invlib.exercises.asked import Named, exercises, named, plain
from invlib.exercises.stored import Cell, cells, shown
from invlib.exercises.stubs import answers, notebook, setup, write

BOOK = ROOT / "book"
PAGES = sorted(BOOK.glob("[0-9]*.ipynb"))
PER_CHAPTER = pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
read = cache(cells)


@cache
def names() -> Named:
    return named(read(path) for path in PAGES)


def texts(made: dict[str, Any], kind: str) -> list[str]:
    return ["".join(c["source"]) for c in made["cells"] if c["cell_type"] == kind]


@PER_CHAPTER
def test_every_exercise_of_a_chapter_is_asked_and_none_is_solved(path: Path) -> None:
    labels = [m for c in read(path) for m in re.findall(r"\{exercise\}.*\n:label: (\S+)", c.source)]
    found = exercises(read(path))
    assert [e.label for e in found] == labels and labels
    made = notebook(read(path), names())
    nbformat.validate(nbformat.from_dict(made))
    text = "\n".join(texts(made, "code") + texts(made, "markdown"))
    assert [e.title for e in found if e.title not in text] == []
    assert "claim(" not in text
    given_away = [a for e in found for a in answers(e) if a in text]
    assert given_away == []
    assert not re.search(r"\{[a-z:]+\}`|\]\([^)]*\.ipynb\)", "\n".join(texts(made, "markdown")))


@PER_CHAPTER
def test_checks_run_and_accept_the_solutions_but_not_the_stubs(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing from the chapter but what the notebook takes along."""
    found, space = exercises(read(path)), dict[str, Any]()
    exec(setup(read(path), found), space)
    for exercise in found:
        for stub in exercise.stubs:
            exec(stub, space)
        before = capsys.readouterr().out.splitlines()
        for answer in answers(exercise):
            exec(answer, space)
        for check in re.findall(r"^_ = (check_\w+\(.*\))$", "\n".join(exercise.stubs), re.M):
            assert eval(check, space)
        after = capsys.readouterr().out.splitlines()
        assert [line[:7] for line in before] == ["not yet"] * bool(exercise.stubs)
        assert len(after) == len(before) and all(line.startswith("ok  ") for line in after)


def test_code_belongs_to_the_exercise_before_it() -> None:
    def markdown(text: str) -> Cell:
        return Cell("markdown", text, {}, ())

    def code(text: str) -> Cell:
        return Cell("code", text, {}, ())

    one = ":::{exercise} One\n:label: ex-1\n\nAsk.\n:::\n\n::::{dropdown} Solution\nSo.\n::::"
    two = ":::{exercise} Two\n:label: ex-2\n\nAsk.\n:::"
    solved = "````{solution-start} ex-2\n:class: dropdown\n````"
    chapter = [code("a"), markdown(one), code("b"), markdown(two), code("stub")]
    chapter += [markdown(solved), code("answer"), markdown("````{solution-end}\n````"), code("c")]
    first, second = exercises(chapter)
    assert (first.question, first.stubs, first.solution) == ("Ask.", (), ())
    assert (second.stubs, second.solution) == (("stub",), ("answer",))


def test_questions_are_readable_without_the_book() -> None:
    known = Named({"eq-a": "x = 1"}, {"thm-a": "theorem *One*"})
    text = "By {prf:ref}`thm-a` and {eq}`eq-a` of [this page](01_a.ipynb), {glue:text}`b:.1f`."
    assert plain(shown(text, {"b": 2.0}), known) == (
        "By theorem *One* and **(eq-a)** of this page, 2.0.\n\n**(eq-a)**\n\n$$\nx = 1\n$$"
    )
    with pytest.raises(KeyError, match="eq-b"):
        plain("{eq}`eq-b`", known)


def test_the_command_writes_a_notebook_for_every_chapter_and_over_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["stubs", str(tmp_path / "new")])
    assert capsys.readouterr().out == f"{len(PAGES)} notebooks in {tmp_path / 'new'}\n"
    assert [p.name for p in sorted((tmp_path / "new").iterdir())] == [p.name for p in PAGES]
    mine = tmp_path / "new" / PAGES[0].name
    mine.write_text("my work")
    with pytest.raises(SystemExit, match="is there already: name another folder"):
        command.main(["stubs", str(tmp_path / "new")])
    assert mine.read_text() == "my work"
    with pytest.raises(SystemExit, match="no chapters in .*: run it in a clone, or give --book"):
        command.main(["stubs", str(tmp_path), "--book", str(tmp_path)])


def test_notebooks_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = (write(BOOK, tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert all(json.loads(p.read_text())["cells"] for p in first)
