"""A hash of the code that a piece of work reaches, which says whether a stored result is of it.

Names are followed from a function to the definitions that they stand for in the package, and so
on; nothing is imported or run. Words, comments, the order of definitions and the modules that they
stand in do not count. Where it is not clear what is used, all that may be is taken: a class with
all its methods, a table with all that it names, a module that is handed on with all that is in it.
Data files are not code.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from .library import Library
from .modules import Module, Unit
from .spelling import Spelling, spell

PACKAGE = Path(__file__).parents[2]


class Reach:
    """What the definitions of a package reach.

    Args:
        root: folder of the package.
    """

    def __init__(self, root: Path = PACKAGE) -> None:
        self.library = Library(root)
        self.spellings: dict[Unit, Spelling] = {}

    def spelling(self, unit: Unit) -> Spelling:
        """The text of a definition, and what it refers to."""
        if unit not in self.spellings:
            self.spellings[unit] = spell(self.library, unit)
        return self.spellings[unit]

    def from_function(self, module: str, name: str) -> set[Unit]:
        """All that a function on the top level of a module reaches.

        Raises:
            ValueError: if there is no such function.
        """
        known = self.library.module(module)
        if known is None or name not in known.names:
            raise ValueError(f"{module} has no {name!r} on its top level")
        return self.closure(known.names[name])

    def closure(self, start: Iterable[Unit]) -> set[Unit]:
        """All that some definitions reach, with themselves."""
        reached: set[Unit] = set()
        loaded: set[Module] = set()
        whole: set[Module] = set()
        todo = [*start]
        while todo:
            unit = todo.pop()
            if unit in reached:
                continue
            reached.add(unit)
            spelling = self.spelling(unit)
            todo += spelling.units
            passed, more = {unit.module, *spelling.passed}, [*spelling.whole]
            while more:
                module = more.pop()
                if module not in whole:
                    whole.add(module)
                    found = self.library.everything(module)
                    todo += found.units
                    more += found.whole
                    passed |= {*found.passed}
            for module in {m for p in passed for m in self.library.parents(p)} - loaded:
                loaded.add(module)
                todo += self.effects(module)
        return reached

    def effects(self, module: Module) -> list[Unit]:
        """What a module does when it loads, beyond defining: decorators may register, too."""
        decorated = [u for u in module.units if getattr(u.node, "decorator_list", ())]
        return module.effects + [unit for unit in decorated if self.spelling(unit).owned]

    def hash(self, units: Iterable[Unit]) -> str:
        """A hash of some definitions; each counts with the texts of those that it refers to."""
        lines = []
        for unit in units:
            spelling = self.spelling(unit)
            named = [self.spelling(other).text for other in spelling.units]
            lines.append(_digest("\0".join([spelling.text, *map(_digest, named)])))
        return _digest("\n".join(sorted(lines)))[:12]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def present() -> Reach:
    """The package as it is now."""
    return Reach()


@cache
def code_of(*functions: Callable[..., Any]) -> str:
    """A hash of the code of the package that some functions on the top level reach."""
    reach, units = present(), set[Unit]()
    for function in functions:
        module = home(function.__module__)
        if reach.library.module(module) is None:
            file = inspect.getsourcefile(function)
            assert file is not None
            reach.library.read(Path(file).read_text("utf-8"), module)
        units |= reach.from_function(module, function.__qualname__)
    return reach.hash(units)


def home(module: str) -> str:
    """The name of a module of the package, also of one that runs as the program."""
    spec = getattr(sys.modules[module], "__spec__", None) if module == "__main__" else None
    return spec.name if spec is not None else module


def code_at(module: str, name: str) -> str:
    """What :func:`code_of` says of a function, which is not imported.

    Args:
        module: where it is, below the package.
        name: what it is called there.
    """
    reach = present()
    return reach.hash(reach.from_function(f"{PACKAGE.name}.{module}", name))


def code_of_text(text: str) -> str:
    """A hash of a program and of the code of the package that it reaches."""
    reach = present()
    return reach.hash(reach.closure(reach.library.read(text, "__main__").units))
