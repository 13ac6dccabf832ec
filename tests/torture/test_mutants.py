"""Small changes of the core are noticed by its tests, or judged one by one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from amount import amount

from invlib.reproduce.book import mutants as page

pytest.importorskip("cosmic_ray", reason="mutants need the extra `torture`")
import changes  # noqa: E402
import mutants  # noqa: E402

ENOUGH = 0.9
SOURCE = '''def double(x: int | None = 2, y: "a + b" = 0) -> float | int:
    """Not + this."""
    if x > 1 and y:
        return x * 2
    return 0
'''


@pytest.mark.torture
def test_the_tests_notice_mutants_of_the_core(counted: Callable[..., None]) -> None:
    """At least nine of ten that can be noticed, of each module; of the others it is said why."""
    command = [sys.executable, mutants.__file__, "--most", str(amount(0, mutants.MOST))]
    assert subprocess.run(command, cwd=changes.ROOT, check=False).returncode == 0
    lines = json.loads(mutants.RESULTS.read_text())["modules"]
    for line in lines.values():
        counted("mutants", line["mutants"])
        counted("killed", line["killed"])
    assert {*lines} == {*mutants.MODULES}
    can_be = {name: line["mutants"] - page.equivalent(line) for name, line in lines.items()}
    few = {name for name, line in lines.items() if line["killed"] < ENOUGH * can_be[name]}
    missing = [left for line in lines.values() for left in line["survived"] if not left["why"]]
    assert (few, missing) == (set(), [])


def test_a_source_is_changed_in_one_place_that_means_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(SOURCE)
    found = changes.sample(["a.py"], 100, "seed")
    assert {mutant.function for mutant in found} == {"double"}
    assert {mutant.line for mutant in found} == {1, 3, 4, 5}
    for mutant in found:
        assert changes.meaning(mutant.source) not in ("", changes.meaning(SOURCE))
        differ = zip(SOURCE.splitlines(), mutant.source.splitlines(), strict=True)
        assert [a.strip() for a, b in differ if a != b] == [mutant.before]
    again = changes.sample(["a.py"], 3, "seed")
    assert again == found[:3] != changes.sample(["a.py"], 3, "other")


def test_what_says_only_how_to_write_is_no_change() -> None:
    same = changes.meaning("def f(a: int, *, b: str = 1) -> None:\n    x: int = a\n")
    assert same == changes.meaning("def f(a, /, b=1):\n    x: str = a\n")
    assert same != changes.meaning("def f(a, *, b=2):\n    x: int = a\n")
    assert changes.meaning("def f(:") == ""


def test_the_statement_of_a_mutant_is_found() -> None:
    tree = changes.ast.parse("class A:\n  def f(self):\n    if (1 +\n        2):\n      return 3\n")
    assert changes.around(tree, 4) == ("A.f", range(3, 5))
    assert changes.around(tree, 5) == ("A.f", range(5, 6))
    assert changes.around(tree, 2) == ("A.f", range(2, 3))


def test_what_was_judged_is_still_there() -> None:
    for (file, _, before, after), verdict in mutants.judged().items():
        text = " ".join((changes.ROOT / file).read_text().split())
        assert " ".join(before.split()) in text and before != after
        assert verdict["why"].endswith(".") and isinstance(verdict["equivalent"], bool)


def test_a_killed_mutant_is_tried_again_where_its_test_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = "invlib/shapes.py"
    mutant = changes.Mutant(file, "", 1, "a", "b", "changed", range(1, 2))
    runs = []
    monkeypatch.setattr(mutants, "chosen", lambda mutant: ["tests/test_x.py::test_y"])
    monkeypatch.setattr(mutants, "run", lambda *_: runs.append(1) or ("killed", "a::b"))
    texts = iter(["one", "one", "two", "two", "two"])
    monkeypatch.setattr(mutants, "text", lambda test: next(texts))
    state: dict = {}
    for expected in (1, 1, 2, 2):
        assert mutants.tried(mutant, state) == ("killed", "a::b") and len(runs) == expected


def test_the_page_shows_shares_and_survivors() -> None:
    left = {"file": "invlib/a.py", "function": "f", "before": "x + 1", "after": "x - 1"}
    line = {
        "date": "2026-01-02",
        "commit": "abc",
        "places": 500,
        "mutants": 41,
        "killed": 36,
        "timed out": 3,
        "survived": [
            {**left, "equivalent": True, "why": "It is the same."},
            {**left, "equivalent": False, "why": "It is a choice."},
            {**left, "equivalent": False, "why": ""},
        ],
    }
    values = {"modules": {"solvers": line}}
    [row] = page.markdown(values).splitlines()[2:]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:7] == ["solvers", "500", "41", "36", "3", "1", "90%"]
    assert cells[7:10] == ["77% to 96%", "1", "1"]  # (36 + 2) / 44 -+ 2 sqrt(3.6 + 1) / 44
    said = page.survivors(values)
    assert "`invlib/a.py:f`: `x + 1` became `x - 1`. Equivalent: It is the same." in said
    assert "`x - 1`. It is a choice." in said
    assert said.count("A test is missing.") == 1
    files = {
        "invlib/a.py": {"lines": [9, 10], "branches": [0, 0]},
        "invlib/b/c.py": {"lines": [1, 10], "branches": [1, 2]},
    }
    text = page.coverage({"date": "2026-01-02", "commit": "abc", "files": files})
    assert "| a " in text and "10 of 20 (50.0%)" in text and "1 of 2 (50.0%)" in text
