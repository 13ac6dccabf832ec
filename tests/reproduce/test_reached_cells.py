"""The stored work: its hash sees the code that it really runs, and nothing that does not matter."""

from __future__ import annotations

import ast
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from invlib.reproduce import stale
from invlib.reproduce.bench import cells as bench
from invlib.reproduce.engine.modules import Unit
from invlib.reproduce.engine.reached import PACKAGE, Reach, present
from invlib.reproduce.engine.work import Cell
from invlib.reproduce.figures.figure1 import cells as figure1
from invlib.reproduce.figures.registry import FIGURES
from invlib.reproduce.front import cells as front
from invlib.reproduce.tables.registry import TABLES

Work = Callable[..., Any]
Site = tuple[str, int]  # a file, and a line of it


@cache
def first_cells() -> dict[str, Cell]:
    """One cell of every kind of work."""
    cells = [cell for figure in FIGURES.values() for cell in figure.cells("tiny")]
    cells += [cell for table in TABLES.values() for cell in table.cells(table.prompts)]
    cells += bench.all_cells(1) + front.cells("tiny")
    return {name_of(cell.work): cell for cell in reversed(cells)}


def name_of(work: Work) -> str:
    return f"{work.__module__.removeprefix('invlib.reproduce.')}.{work.__qualname__}"


@cache
def hashes(root: Path) -> dict[str, str]:
    """The hash of every kind of work in a copy of the package."""
    reach = Reach(root)
    works = {name: cell.work for name, cell in first_cells().items()}
    return {
        name: reach.hash(reach.from_function(work.__module__, work.__qualname__))
        for name, work in works.items()
    }


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package, without weights."""
    root = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, root, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    return root


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def reworded(text: str) -> str:
    """A source with a word more in every docstring, and comments."""
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            row = node.lineno - 1
            lines[row] = lines[row].replace('"""', '"""Said otherwise: ', 1)
    return "\n".join(["# a remark", *lines, "# another"])


def test_words_in_any_file_leave_every_hash_as_it_is(copy: Path) -> None:
    files = [file for file in copy.rglob("*.py") if '"""' in file.read_text()]
    for file in files:
        file.write_text(reworded(file.read_text()))
    assert len(files) > 100
    assert "Said otherwise" in (copy / "solvers.py").read_text()
    assert hashes(copy) == hashes(PACKAGE)


def test_a_coefficient_is_seen_by_what_uses_it_only(copy: Path) -> None:
    edit(copy / "solvers.py", '"DPM-Solver++(3M)", grid, 3', '"DPM-Solver++(3M)", grid, 2')
    before, after = hashes(PACKAGE), hashes(copy)
    seen = {name for name in before if before[name] != after[name]}
    problems = {name for name, cell in first_cells().items() if uses(cell, "dpm_solver_pp_3m")}
    assert seen == problems
    assert {"bench.cells.attempt", "tables.exactness.shard", "front.methods.attempt"} <= seen
    untouched = (
        "figures.figure1.cells.trace",
        "tables.flow.shard",
        "figures.figure2.cells.measure",
    )
    assert {*untouched} <= before.keys()
    assert not {*untouched} & seen


def uses(cell: Cell, name: str) -> bool:
    units = present().from_function(cell.work.__module__, cell.work.__qualname__)
    return any(getattr(unit.node, "name", "") == name for unit in units)


def test_a_function_may_move_to_another_module(copy: Path) -> None:
    source = (copy / "metrics.py").read_text()
    moved = next(n for n in ast.parse(source).body if getattr(n, "name", "") == "nmse")
    text = ast.get_source_segment(source, moved)
    assert text is not None
    edit(copy / "metrics.py", text, "from .shapes import nmse")
    with (copy / "shapes.py").open("a") as file:
        file.write(f"\n\nimport torch\n{text}\n")
    assert hashes(copy) == hashes(PACKAGE)


class Enough(BaseException):
    """The time is over; no part of the library catches it."""


def called(cell: Cell, seconds: float) -> set[Site]:
    """Where the functions of the package begin that a cell calls within some seconds.

    What modules do when they are imported does not count.
    """
    sites: set[Site] = set()
    loading, end = 0, time.monotonic() + seconds

    def note(frame: FrameType, event: str, value: object) -> None:
        nonlocal loading
        code = frame.f_code
        if code.co_name == "<module>":
            loading += {"call": 1, "return": -1}.get(event, 0)
        elif event == "call" and not loading and code.co_filename.startswith(str(PACKAGE)):
            sites.add((code.co_filename, code.co_firstlineno))
            if time.monotonic() > end:  # only here: what PyTorch has begun to undo, it undoes
                raise Enough

    work, arguments = cell.work, cell.arguments
    sys.setprofile(note)
    try:
        work(**arguments)
    except Enough:
        pass
    finally:
        sys.setprofile(None)
    return sites


def reached(cell: Cell) -> set[Unit]:
    """What the hashes of a cell are of."""
    places = [place.split(":") for place in cell.uses.values()]
    starts = [(f"{PACKAGE.name}.{module}", name) for module, name in places]
    starts.append((cell.work.__module__, cell.work.__qualname__))
    return set[Unit]().union(*(present().from_function(*start) for start in starts))


def missing(cell: Cell, sites: set[Site]) -> list[Site]:
    """The functions among some that no hash of the cell is of."""
    lines: dict[str, set[int]] = {}
    for unit in reached(cell):
        start = min([unit.node, *getattr(unit.node, "decorator_list", [])], key=lambda n: n.lineno)
        file = Path(import_module(unit.module.name).__file__ or "")
        assert unit.node.end_lineno is not None
        lines.setdefault(str(file), set()).update(range(start.lineno, unit.node.end_lineno + 1))
    return [(file, line) for file, line in sites if line not in lines.get(file, ())]


@pytest.mark.parametrize("name", first_cells())
def test_every_function_that_work_begins_with_is_reached(name: str) -> None:
    cell = first_cells()[name]
    sites = called(cell, seconds=0.4)
    assert sites
    assert missing(cell, sites) == []


STARS = bench.Case("stars", "2M-10 logSNR", 1.0)
WHOLE = {"figure 1": Cell("fig1", figure1.trace)} | {
    method: bench.cells(STARS, method, 1)[0]
    for method in ("naive", "stock", "ife", "aidi_a", "gnri", "algorithm2_tuned", "ours")
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_function_that_work_calls_is_reached(name: str) -> None:
    sites = called(WHOLE[name], seconds=60)
    assert len(sites) > 10
    assert missing(WHOLE[name], sites) == []


def test_all_results_are_checked_in_seconds() -> None:
    present.cache_clear()
    began = time.process_time()
    for name, configs in stale.sources().items():
        assert configs({"images": 1, "prompts": 8}), name
    assert time.process_time() - began < 10
