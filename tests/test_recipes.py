"""The recipes run as they stand on their page, and print what stands there."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chapters import ROOT

PAGE = (ROOT / "book/reference/recipes.md").read_text()
LINES = 15
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Script:
    """A script of the page, and what it prints there."""

    job: str
    text: str
    printed: str


def scripts(page: str) -> list[Script]:
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        job = section.partition("\n")[0]
        blocks = re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        for (kind, text), (after, printed) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
            if kind == "python":
                found.append(Script(job, text, printed if after == "text" else ""))
    return found


SCRIPTS = scripts(PAGE)


def test_the_five_jobs_are_there_and_short() -> None:
    jobs = " ".join({script.job for script in SCRIPTS})
    for words in (
        "three keys",
        "JPEG",
        "unmarked",
        "hair colour",
        "Save, reload, compare",
        "seed",
        "prompt or",
    ):
        assert words in jobs
    assert [s.job for s in SCRIPTS if len(s.text.strip().splitlines()) > LINES] == []
    assert all(script.printed for script in SCRIPTS)


def test_recipes_print_what_stands_on_their_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first to the last: each may use the files and the names of those before it."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for script in SCRIPTS:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(script.text, script.job, "exec"), names)
        printed = said.getvalue()
        same = doctest.OutputChecker().check_output(script.printed, printed, LOOSELY)
        assert same, f"{script.job}: {printed}"


def test_a_wrong_output_would_be_noticed() -> None:
    [script] = scripts("## job\n\n```python\nprint(1)\n```\n\n```text\n... 2\n```\n")
    assert not doctest.OutputChecker().check_output(script.printed, "a 1\n", LOOSELY)
