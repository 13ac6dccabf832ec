"""The house is as its plan says, and imports go downwards."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from chapters import ROOT

PLAN = (ROOT / "ARCHITECTURE.md").read_text()
TREES = re.findall(r"^```\n(.*?)^```$", PLAN, re.MULTILINE | re.DOTALL)
TEXT = re.sub(r"^```\n.*?^```$", "", PLAN, flags=re.MULTILINE | re.DOTALL)
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", TEXT)))
BARE = {"invert_image", "cells.py", "table.py", "drawing.py", "__main__.py"}  # without a place
HOUSES = ("invlib/", "invlib/reproduce/")


# --- the plan


@cache
def storeys() -> dict[str, list[list[str]]]:
    """For every folder in the trees the lines below it.

    A line is names, two spaces or more, and what they hold.
    """
    found: dict[str, list[list[str]]] = {}
    for line in filter(None, "".join(TREES).splitlines()):
        names = re.split(r" {2,}", line.strip())[0].split(" ")
        if line.startswith(" "):
            [*found.values()][-1].append(names)
        else:
            found[names[0]] = []
    return found


def rooms(house: str) -> list[str]:
    """All that is named below a folder."""
    return [name for names in storeys()[house] for name in names]


def tree() -> list[str]:
    """The paths in the trees."""
    return [path for house in storeys() for path in (house, *(house + n for n in rooms(house)))]


def found(name: str) -> bool:
    """Whether what is quoted exists: a path, ``path:name``, or a command."""
    if name.startswith("make "):
        return bool(re.search(rf"^{name[5:]}:", (ROOT / "Makefile").read_text(), re.MULTILINE))
    if name.startswith("python -m "):
        path = ROOT.joinpath(*name[10:].split("."))
        return path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    path, _, what = name.partition(":")
    if not (ROOT / path).exists():
        return False
    return not what or defines(ast.parse((ROOT / path).read_text()), what.split("."))


def defines(scope: ast.AST, names: list[str]) -> bool:
    """Whether a scope defines a name, and in it the next."""
    for node in ast.iter_child_nodes(scope):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                pass
            case ast.ImportFrom(names=aliases):
                name = names[0] if names[0] in {a.asname or a.name for a in aliases} else ""
            case _:
                continue
        if name == names[0]:
            return len(names) == 1 or defines(node, names[1:])
    return False


def test_everything_in_the_tree_exists() -> None:
    assert len(tree()) > 40
    assert [path for path in tree() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("house", HOUSES)
def test_the_tree_is_whole(house: str) -> None:
    inside = [p for p in (ROOT / house).iterdir() if p.suffix == ".py" or p.is_dir()]
    names = [p.name + "/" * p.is_dir() for p in inside if p.name != "__pycache__"]
    assert sorted(names) == sorted(rooms(house))


@pytest.mark.parametrize("name", QUOTED)
def test_what_the_plan_names_exists(name: str) -> None:
    assert found(name) or name in BARE


def test_a_wrong_name_would_be_noticed() -> None:
    wrong = ("invlib/solver.py", "invlib/solvers.py:Solver.c2", "invlib/inversion.py:invert")
    assert not any(found(name) for name in (*wrong, "make nothing", "python -m invlib.nothing"))
    assert found("invlib/inverters/rounds.py:Rounds.move")


def test_the_way_to_the_line_that_solves_is_the_way_of_the_calls() -> None:
    """Each of the three files calls the next."""
    calls = {
        "invlib/pipelines/invert.py": "invert(",
        "invlib/inverters/__init__.py": '"exact": exact',
        "invlib/inverters/exact.py": "converge(",
        "invlib/inverters/rounds.py": "rounds.move(",
    }
    for path, text in calls.items():
        assert text in (ROOT / path).read_text()


# --- imports


@cache
def modules() -> dict[str, Path]:
    """Every module of the library, by its dotted name."""
    files = sorted((ROOT / "invlib").rglob("*.py"))
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    return dict(zip((n.removesuffix(".__init__") for n in names), files, strict=True))


def imports(text: str, package: str, *, late: bool) -> Iterator[str]:
    """The modules that a source imports; those in functions, too, if ``late``.

    Args:
        text: the source.
        package: what its relative imports start from.
        late: whether imports in functions count.
    """

    def visit(nodes: Iterable[ast.AST]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from visit(node.orelse)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = package.split(".")[: 1 - node.level or None] if node.level else []
                module = ".".join([*start, *filter(None, [node.module])])
                inner = [f"{module}.{alias.name}" for alias in node.names]
                yield from (name if name in modules() else module for name in inner)
            elif late or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from visit(ast.iter_child_nodes(node))

    yield from visit(ast.parse(text).body)


@cache
def graph(*, late: bool) -> Mapping[str, frozenset[str]]:
    """What every module imports, in the library and outside."""
    edges = {}
    for name, file in modules().items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        edges[name] = frozenset(imports(file.read_text(), package, late=late)) - {name}
    return edges


def reached(name: str) -> set[str]:
    """All that a module imports, at once or later, itself or by what it imports."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        for other in graph(late=True).get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


def circle(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """One circle in a graph, or none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def inside(*, late: bool) -> dict[str, set[str]]:
    """The graph without what is outside of the library."""
    return {name: {o for o in to if o in modules()} for name, to in graph(late=late).items()}


def test_modules_import_each_other_in_no_circle() -> None:
    assert len(modules()) > 200
    assert circle(inside(late=False)) == []
    assert len(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == 4


def test_late_imports_close_no_circle() -> None:
    assert circle(inside(late=True)) == []


CORE = (
    "schedule",
    "denoisers",
    "solvers",
    "rootfind",
    "singular",
    "certificate",
    "inversion",
    "inverters",
)
# What stands on the core's own floors: what it may import, itself or by others.
LOWER = {
    *CORE,
    *("bridge", "devices", "sampling", "evaluator", "precision", "newton", "derivatives"),
    "inverse_iteration",
    *("words", "watch", "interrupt", "progress_bar", "memory", "room", "shapes", "metrics"),
}
OUTSIDE = {"numpy", "torch", "tqdm"}  # that, and what comes with Python


def room(name: str) -> str:
    """The file or folder of ``invlib`` that a module is in."""
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("name", [n for n in modules() if room(n) in CORE])
def test_the_core_stands_on_lower_floors_and_on_torch(name: str) -> None:
    found = reached(name)
    assert {n for n in found if n in modules() and room(n) not in LOWER} == set()
    others = {n.partition(".")[0] for n in found if n not in modules()}
    assert others - sys.stdlib_module_names <= OUTSIDE


def floor(name: str, house: str) -> int:
    """On which line of a house's tree a module is; a room's command stands with the house's own."""
    first, *rest = name.split(".")[house.count("/") :]
    place = "__main__" if rest == ["__main__"] else first
    names = (f"{place}/", f"{place}.py")
    [line] = [k for k, some in enumerate(storeys()[house]) if {*names} & {*some}]
    return line


def upwards(edges: Mapping[str, Iterable[str]], house: str) -> set[tuple[str, str]]:
    """The imports inside a house that go to a later line; the bare package has only its name."""
    start = house.replace("/", ".")
    return {
        (name, other)
        for name, to in edges.items()
        for other in to
        if name.startswith(start) and other.startswith(start)
        if floor(other, house) > floor(name, house)
    }


def test_imports_go_to_the_same_line_of_the_plan_or_up_the_page() -> None:
    edges = inside(late=True)
    assert upwards(edges, "invlib/") == set()
    assert upwards(edges, "invlib/reproduce/") == set()


@pytest.mark.parametrize(
    ("name", "other", "wrong"),
    [
        ("engine.work", "figures.registry", True),
        ("models.problem", "tables.exactness", True),
        ("tables.exactness", "bench.cells", True),
        ("figures.figure1.cells", "book.tidy", True),
        ("book.pages", "bench.__main__", True),
        ("engine.store", "stale", True),
        ("bench.__main__", "book.pages", False),
        ("figures.registry", "figures.figure1.cells", False),
        ("figures.figure6.cells", "editing.cells", False),
    ],
)
def test_a_way_up_the_storeys_would_be_noticed(name: str, other: str, wrong: bool) -> None:
    name, other = f"invlib.reproduce.{name}", f"invlib.reproduce.{other}"
    assert {name, other} <= modules().keys()
    assert bool(upwards({name: [other]}, "invlib/reproduce/")) == wrong


def test_every_figure_has_a_room_with_its_work_and_its_drawing() -> None:
    """And the work loads no drawing."""
    folder = ROOT / "invlib/reproduce/figures"
    names = [p.name for p in folder.iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert len(names) >= 10
    for name in names:
        assert {"cells.py", "drawing.py"} <= {p.name for p in (folder / name).iterdir()}
        found = reached(f"invlib.reproduce.figures.{name}.cells")
        assert not [n for n in found if n.endswith(".drawing") or n.startswith("matplotlib")]


def test_importing_invlib_imports_no_diffusers() -> None:
    """By what modules import when they load; the packages that they are in load, too."""
    edges = graph(late=False)
    todo, seen = ["invlib"], {"invlib"}
    while todo:
        name = todo.pop()
        parents = {name.rsplit(".", k)[0] for k in range(1, name.count(".") + 1)}
        for other in {*edges.get(name, ()), *parents} - seen:
            seen.add(other)
            todo.append(other)
    assert {n.partition(".")[0] for n in seen} & {
        "diffusers",
        "transformers",
        "accelerate",
    } == set()
    assert {room(n) for n in seen if n in modules()} & {"pipelines", "reproduce", "cli"} == set()


# Who outside of ``invlib.reproduce`` imports it, and what for. Notebooks may, too.
EXPERIMENTERS = {
    # hashes of the code that a stored result was made with
    ("invlib.rehearsal.agreement", "invlib.reproduce.engine.reached"),
    ("invlib.rehearsal.agreement", "invlib.reproduce.engine.store"),
    ("invlib.rehearsal.costs", "invlib.reproduce.engine.reached"),
    ("invlib.rehearsal.costs", "invlib.reproduce.engine.store"),
    ("invlib.rehearsal.determinants", "invlib.reproduce.engine.reached"),
    ("invlib.rehearsal.determinants", "invlib.reproduce.engine.store"),
    ("invlib.rehearsal.peak", "invlib.reproduce.engine.reached"),
    ("invlib.rehearsal.peak", "invlib.reproduce.engine.store"),
    ("invlib.rehearsal.pipelines", "invlib.reproduce.engine.reached"),
    ("invlib.rehearsal.pipelines", "invlib.reproduce.engine.store"),
    ("invlib.rehearsal.table", "invlib.reproduce.engine.reached"),
    ("invlib.rehearsal.table", "invlib.reproduce.engine.store"),
    # the command ``invlib figures``
    ("invlib.cli.info", "invlib.reproduce.__main__"),
}


def test_only_rehearsal_and_the_command_line_know_the_experiments() -> None:
    experiments = {
        (name, other)
        for name, to in graph(late=True).items()
        for other in to
        if other.startswith("invlib.reproduce") and room(name) != "reproduce"
    }
    assert experiments == EXPERIMENTERS


@pytest.mark.parametrize(
    ("source", "late", "expected"),
    [
        ("from .schedule import Grid", False, ["invlib.schedule"]),
        ("from . import schedule", False, ["invlib.schedule"]),
        ("def f():\n    import diffusers", False, []),
        ("def f():\n    import diffusers", True, ["diffusers"]),
        ("if TYPE_CHECKING:\n    import diffusers", True, []),
        ("class A:\n    from ..solvers import ddim", False, ["solvers"]),
    ],
)
def test_imports_are_read_as_python_reads_them(
    source: str, late: bool, expected: list[str]
) -> None:
    assert list(imports(source, "invlib", late=late)) == expected
