"""What the hash of reached code sees, and what it does not: on a package of a few lines."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from invlib.rehearsal import peak
from invlib.reproduce.engine.reached import Reach, code_at, code_of, code_of_text

FILES = {
    "__init__": """
from .numbers import seven
def __getattr__(name):
    from . import rare
    return getattr(rare, name)
""",
    "numbers": """
import math as m
from dataclasses import dataclass
SEVEN = 7
def seven(): return SEVEN
def eight(): return 8
def root(x): return m.sqrt(x)
@dataclass
class Pair:
    left: int = 1
    def both(self): return [self.left, eight()]
""",
    "rare": """
def platypus(): return 3
""",
    "tables": """
from . import numbers
from .numbers import Pair as Two, eight
METHODS = {"eight": eight, "pair": lambda: Two().both()}
""",
    "commands": """
def register(function): return function
@register
def command(): return 1
SETTINGS = {}
SETTINGS["mode"] = 5
""",
    "stars": """
from .numbers import *
""",
    "work": """
from __future__ import annotations
from typing import TYPE_CHECKING
import toy
from . import numbers, tables
from .commands import register
from .numbers import eight
from .stars import root
from .tables import METHODS
if TYPE_CHECKING:
    from .rare import platypus
def plain(): return numbers.seven()
def chosen(name): return METHODS[name]()
def through(): return toy.seven()
def lazy(): return toy.platypus()
def handed(): return list(vars(tables))
def registered(): return register(1)
def starred(): return root(4)
def shadowed(seven, eight=2):
    numbers = [seven for seven in range(eight)]
    return numbers
def again(): return [eight for eight in range(eight())]
def hinted(x: platypus): return x
def inside():
    from .numbers import eight as many
    return many()
def named(part):
    from importlib import import_module
    return import_module(f"{__package__}.{part}")
if __name__ == "__main__":
    print(plain())
""",
}
WORKS = tuple(
    "plain chosen through lazy handed registered starred shadowed again hinted inside named".split()
)
Edits = dict[str, list[tuple[str, str]]]  # by file: words, and what stands in their place


def hashes(folder: Path, edits: Edits) -> dict[str, str]:
    """The hash of every function of the toy package, after some edits."""
    root = folder / "toy"
    root.mkdir(exist_ok=True)
    for name, text in FILES.items():
        for old, new in edits.get(name, []):
            assert old in text
            text = text.replace(old, new)
        (root / f"{name}.py").write_text(text)
    reach = Reach(root)
    return {name: reach.hash(reach.from_function("toy.work", name)) for name in WORKS}


def told(folder: Path, edits: Edits) -> set[str]:
    """The functions whose hash some edits change."""
    before, after = hashes(folder, {}), hashes(folder, edits)
    return {name for name in WORKS if before[name] != after[name]}


CHANGES = {
    "a value": ("numbers", "SEVEN = 7", "SEVEN = 70", "plain through handed named"),
    "what a table names": ("numbers", "return 8", "return 9", "chosen handed again inside named"),
    "a method of a class": ("numbers", "left, eight", "left, 2 * eight", "chosen handed named"),
    "a field of a class": ("numbers", "int = 1", "int = 2", "chosen handed named"),
    "a decorator": ("numbers", "@dataclass", "@dataclass(frozen=True)", "chosen handed named"),
    "what another library does": ("numbers", "import math", "import cmath", "starred handed named"),
    "what is loaded when first used": ("rare", "return 3", "return 4", "lazy named"),
    "how the package loads it": ("__init__", "getattr(rare, name)", "None", "lazy named"),
    "what a decorator of ours keeps": ("commands", "return 1", "return 2", "registered named"),
    "what a module does on loading": ("commands", '"] = 5', '"] = 6', "registered named"),
    "a default": ("work", "eight=2", "eight=3", "shadowed named"),
    "a hint": ("work", "x: platypus", "x: int", "hinted named"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_by_all_that_reach_it_and_by_nothing_else(
    change: str, tmp_path: Path
) -> None:
    file, old, new, by = CHANGES[change]
    assert told(tmp_path, {file: [(old, new)]}) == set(by.split())


NEUTRAL: dict[str, Edits] = {
    "a docstring": {"numbers": [("def eight(): return 8", 'def eight():\n    "E."\n    return 8')]},
    "words behind a value": {"numbers": [("SEVEN = 7", 'SEVEN = 7\n"""Said."""')]},
    "a comment and a blank line": {"numbers": [("SEVEN = 7", "# seven\n\nSEVEN = (7)  # so")]},
    "the order": {
        "numbers": [
            ("SEVEN = 7\n", ""),
            ("def eight(): return 8\n", ""),
            ("def root(x)", "def eight(): return 8\nSEVEN = 7\ndef root(x)"),
        ]
    },
    "another module": {
        "numbers": [("def eight(): return 8", "from .rare import eight")],
        "rare": [("def platypus", "def eight(): return 8\ndef platypus")],
        "tables": [("import Pair as Two, eight", "import Pair as Two\nfrom .rare import eight")],
    },
    "an alias": {"tables": [("Pair as Two", "Pair"), ("Two()", "Pair()")]},
    "an alias of a library": {"numbers": [("math as m", "math"), ("m.sqrt", "math.sqrt")]},
    "an import on top": {
        "work": [
            ("    from .numbers import eight as many\n", ""),
            ("many()", "eight()"),
        ]
    },
    "a name for a module's attribute": {
        "work": [
            ("return numbers.seven()", "return seven()"),
            ("import toy\n", "import toy\nfrom .numbers import seven\n"),
        ]
    },
}


@pytest.mark.parametrize("change", NEUTRAL)
def test_what_cannot_change_a_result_is_not_seen(change: str, tmp_path: Path) -> None:
    seen = told(tmp_path, NEUTRAL[change])
    assert seen - {"lazy"} == set()  # what is loaded with all that is in it
    assert not seen or change == "another module"


def test_two_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Which of the two is called where counts, though both are reached before and after."""
    root = tmp_path / "toy"
    root.mkdir()
    (root / "__init__.py").touch()
    (root / "one.py").write_text("def make(): return 1\n")
    (root / "two.py").write_text("def make(): return 2\n")
    found = set()
    for first, second in (("one", "two"), ("two", "one")):
        text = f"from . import one, two\ndef work(): return {first}.make() - {second}.make()\n"
        (root / "work.py").write_text(text)
        reach = Reach(root)
        found.add(reach.hash(reach.from_function("toy.work", "work")))
    assert len(found) == 2


def test_a_function_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no 'nothing' on its top level"):
        Reach().from_function("invlib.metrics", "nothing")


def test_work_from_elsewhere_counts_with_its_own_code() -> None:
    assert len({code_of(hashes), code_of(told), code_of(hashes, told)}) == 2  # told reaches hashes


def test_a_program_counts_with_what_it_reaches() -> None:
    program = "from invlib import nmse\nprint(nmse)\n"
    assert code_of_text(program) == code_of_text(f"# a remark\n{program}")
    assert code_of_text(program) != code_of_text(program.replace("nmse", "decibel"))


def test_the_text_of_a_definition_is_the_same_in_every_version_of_python(tmp_path: Path) -> None:
    """Every version has its own ``ast.dump``; if this text changes, all results become stale."""
    root = tmp_path / "toy"
    root.mkdir()
    text = """def f(x: int = 1): 'Words.'; return f"{x!r:>{g}}" + h.g\n"""
    (root / "__init__.py").write_text(f"import numpy as h\ng = None\n{text}")
    reach = Reach(root)
    (unit,) = [u for u in reach.from_function("toy", "f") if isinstance(u.node, ast.FunctionDef)]
    joined = (
        "JoinedStr([FormattedValue(value=x,conversion=114,"
        "format_spec=JoinedStr([Constant(value='>'),FormattedValue(value=@,conversion=-1)]))])"
    )
    assert reach.spelling(unit).text == (
        "FunctionDef(name='f',args=arguments(args=[arg(arg='x',annotation=int)],"
        f"defaults=[Constant(value=1)]),body=[Return(value=BinOp(left={joined},"
        "op=Add(),right=numpy.g))])"
    )


def test_a_module_that_runs_as_the_program_is_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m invlib.rehearsal.peak`` stamps what it measures as an import of it would."""
    program = ModuleType("__main__")
    program.__spec__ = ModuleSpec("invlib.rehearsal.peak", None)
    monkeypatch.setitem(sys.modules, "__main__", program)
    measure = FunctionType(peak.measure.__code__, peak.measure.__globals__)
    measure.__module__ = "__main__"
    assert code_of(measure) == code_at("rehearsal.peak", "measure")
