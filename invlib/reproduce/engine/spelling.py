"""The text of a definition, and what it refers to.

The text leaves out what cannot change a result: words, comments, positions, and by which name and
from where something is imported. It names the kind and the non-empty fields of every node, so that
all versions of Python agree: the fields that newer ones add are empty in code that older ones read,
while ``ast.dump`` shows them, and ``ast.unparse`` quotes f-strings in another way since 3.12.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from dataclasses import dataclass, field

from .library import Found, Library
from .modules import (
    COMPREHENSIONS,
    FUNCTIONS,
    IMPORTS,
    Module,
    Place,
    Unit,
    imported,
    is_words,
    names_bound,
)

Scope = Mapping[str, Place | None]  # names of functions around a node: imported, or their own
SILENT = ("ctx", "kind", "type_comment")


@dataclass
class Spelling:
    """The text of a definition, and what of the package it refers to, in order.

    Attributes:
        text: the text; ``@`` stands for each reference.
        units: the definitions.
        whole: modules that all of may be used.
        passed: modules that names were looked up in.
        owned: whether something of the package decorates it, and may keep it somewhere.
    """

    text: str = ""
    units: list[Unit] = field(default_factory=list)
    whole: list[Module] = field(default_factory=list)
    passed: list[Module] = field(default_factory=list)
    owned: bool = False


def spell(library: Library, unit: Unit) -> Spelling:
    """Write down a definition of a module."""
    decorating = _Speller(library, unit.module)
    for decorator in getattr(unit.node, "decorator_list", []):
        decorating.spell(decorator.func if isinstance(decorator, ast.Call) else decorator, {})
    speller = _Speller(library, unit.module)
    speller.out.text = speller.spell(unit.node, {})
    speller.out.owned = bool(decorating.out.units or decorating.out.whole)
    return speller.out


class _Speller:
    def __init__(self, library: Library, module: Module) -> None:
        self.library, self.module, self.out = library, module, Spelling()

    def spell(self, value: object, scope: Scope) -> str:
        match value:
            case list():
                parts = [v for v in value if not is_words(v) and not isinstance(v, IMPORTS)]
                return f"[{','.join(self.spell(part, scope) for part in parts)}]"
            case ast.Name(ctx=ast.Load()) | ast.Attribute():
                return self.reference(value, scope)
            case ast.JoinedStr():
                parts = [v for v in value.values if getattr(v, "value", None) != ""]
                return f"JoinedStr({self.spell(parts, scope)})"
            case ast.Global():
                for name in value.names:
                    self.meaning((name,), {})
            case ast.AST():
                pass
            case _:
                return repr(value)
        inner = {name: self.inside(value, name, scope) for name in value._fields}
        fields = [
            f"{name}={self.spell(part, inner[name])}"
            for name, part in ast.iter_fields(value)
            if name not in SILENT and part is not None and part != []
        ]
        return f"{type(value).__name__}({','.join(fields)})"

    def inside(self, node: ast.AST, name: str, scope: Scope) -> Scope:
        """The names that a field of a node sees."""
        if isinstance(node, FUNCTIONS) and name == "body":
            body = node.body if isinstance(node.body, list) else [node.body]
            own, declared = names_bound(body)
            every = [a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)]
            outer = {n: place for n, place in scope.items() if n not in declared}
            return {
                **outer,
                **dict.fromkeys([*every, *own]),
                **dict(imported(body, self.module.package)),
            }
        if isinstance(node, ast.ClassDef) and name == "body":
            return {**scope, **dict(imported(node.body, self.module.package))}
        if isinstance(node, COMPREHENSIONS):
            first = {n.id for n in ast.walk(node.generators[0].iter) if isinstance(n, ast.Name)}
            return {**scope, **dict.fromkeys(names_bound(node.generators)[0] - first)}
        return scope

    def reference(self, node: ast.expr, scope: Scope) -> str:
        """A name with its attributes: what it leads to, or itself if it is nobody's."""
        base, path = node, []
        while isinstance(base, ast.Attribute):
            path.append(base.attr)
            base = base.value
        if not isinstance(base, ast.Name):
            assert isinstance(node, ast.Attribute)
            return f"{self.spell(node.value, scope)}.{node.attr}"
        names = (base.id, *reversed(path))
        found = self.meaning(names, scope)
        if found is None:
            return ".".join(names)
        start = "@" if found.inside else found.outside
        return ".".join([start, *found.left])

    def meaning(self, names: tuple[str, ...], scope: Scope) -> Found | None:
        """What a dotted name leads to, which is noted; None if it is local or built in."""
        name, path = names[0], names[1:]
        module = self.module
        if name in scope:
            place = scope[name]
            if place is None:
                return None
            found = self.library.follow(place, path)
        elif name in module.names or name in module.imports:
            found = self.library.find(module.name, names)
        elif "*" in module.imports and not hasattr(builtins, name):
            found = self.library.find(module.name, names)
        else:
            return None
        self.out.units += found.units
        self.out.whole += found.whole
        self.out.passed += found.passed
        if ".".join((found.outside, *found.left)) == "importlib.import_module":
            self.out.whole += self.library.beside(module)  # one of them, by its name
        return found
