"""The modules of a package as syntax trees: what they define, import, and do when they load."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Place:
    """What an imported name stands for: a module, or an attribute of one."""

    module: str
    attribute: str = ""


@dataclass(frozen=True, eq=False)
class Unit:
    """A statement on the top level of a module: a definition, or something that it does."""

    module: Module
    node: ast.stmt

    @property
    def text(self) -> str:
        """It as it is written, with its comments and decorators."""
        nodes = [self.node, *getattr(self.node, "decorator_list", [])]
        first = min(node.lineno for node in nodes)
        return "\n".join(self.module.lines[first - 1 : self.node.end_lineno])


@dataclass(eq=False)
class Module:
    """A module, read and not run.

    Attributes:
        name: its dotted name.
        package: what its relative imports start from.
        units: its statements but for imports and words.
        names: the statements that bind a name.
        imports: what a name is imported from; of ``import *`` under the name ``*``.
        effects: the statements that do something when the module loads, beyond defining.
        lines: its text.
    """

    name: str
    package: str
    units: list[Unit] = field(default_factory=list)
    names: dict[str, list[Unit]] = field(default_factory=dict)
    imports: dict[str, list[Place]] = field(default_factory=dict)
    effects: list[Unit] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def parse(text: str, name: str, package: str) -> Module:
    """Read the source of a module."""
    module = Module(name, package, lines=text.split("\n"))
    for node in ast.parse(text).body:
        if is_words(node) or _never_run(node):
            continue
        for bound, place in imported([node], package):
            module.imports.setdefault(bound, []).append(place)
        if isinstance(node, IMPORTS):
            continue
        unit = Unit(module, node)
        module.units.append(unit)
        for bound in names_bound([node])[0]:
            module.names.setdefault(bound, []).append(unit)
        if not _defines(node):
            module.effects.append(unit)
    return module


def here(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of one scope, without what is in its functions, classes and comprehensions."""
    for node in nodes:
        yield node
        if not isinstance(node, (*FUNCTIONS, *COMPREHENSIONS, ast.ClassDef)):
            yield from here(ast.iter_child_nodes(node))


def names_bound(nodes: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """The names that a scope binds but for its imports, and those it says are global."""
    names: set[str] = set()
    declared: set[str] = set()
    for node in here(nodes):
        match node:
            case ast.Global():
                declared.update(node.names)
            case ast.Name(ctx=ast.Store() | ast.Del()):
                names.add(node.id)
            case ast.MatchMapping(rest=str(name)):
                names.add(name)
            case (
                ast.FunctionDef(name=str(name))
                | ast.AsyncFunctionDef(name=str(name))
                | ast.ClassDef(name=str(name))
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                names.add(name)
    return names - declared, declared


def imported(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[str, Place]]:
    """The names that the imports of a scope bind, and what they stand for."""
    for node in here(nodes):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield alias.asname or first, Place(alias.name if alias.asname else first)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                star = alias.name == "*"
                yield alias.asname or alias.name, Place(module, "" if star else alias.name)


def is_words(node: object) -> bool:
    """Whether a statement is a docstring, or another string that nobody uses."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _never_run(node: ast.stmt) -> bool:
    """Whether it is for type checkers only, or for a module that is run as a program."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    test = ast.unparse(node.test)
    return test in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _defines(node: ast.stmt) -> bool:
    """Whether it only binds names."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [part for target in targets for part in ast.walk(target)]
        return not any(isinstance(part, (ast.Attribute, ast.Subscript)) for part in parts)
    return isinstance(node, NAMED)
