"""Where a dotted name leads to in a package: to definitions, to whole modules, or outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .modules import Module, Place, Unit, parse


@dataclass(frozen=True)
class Found:
    """What a dotted name leads to.

    Attributes:
        units: definitions in the package; several where a name is bound more than once.
        whole: modules of the package that all of may be used.
        passed: modules of the package that the name was looked up in.
        outside: the module outside the package that it is in.
        left: attributes of what was found, which are not looked up.
    """

    units: tuple[Unit, ...] = ()
    whole: tuple[Module, ...] = ()
    passed: tuple[Module, ...] = ()
    outside: str = ""
    left: tuple[str, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(
            self.units + other.units,
            self.whole + other.whole,
            self.passed + other.passed,
            self.outside or other.outside,
            other.left,
        )

    @property
    def inside(self) -> bool:
        """Whether it leads to something in the package."""
        return bool(self.units or self.whole)


class Library:
    """The modules of a package, each read once.

    Args:
        root: folder of the package; its name is the package's name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """A module of the package by its dotted name, or None if it is none."""
        if name not in self.modules:
            self.modules[name] = self._load(name)
        return self.modules[name]

    def read(self, text: str, name: str) -> Module:
        """Add a module that is not of the package."""
        module = parse(text, name, name.rpartition(".")[0])
        self.modules[name] = module
        return module

    def beside(self, module: Module) -> tuple[Module, ...]:
        """Every module of the package that a module is in, and of the packages in that."""
        folder = self.root.parent / Path(*module.package.split("."))
        files = [file.relative_to(self.root.parent) for file in sorted(folder.rglob("*.py"))]
        names = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
        return tuple(found for name in names if (found := self.module(name)) is not None)

    def parents(self, module: Module) -> tuple[Module, ...]:
        """A module and the packages that load before it."""
        parts = module.name.split(".")
        names = [".".join(parts[: i + 1]) for i in range(len(parts))]
        return tuple(found for name in names if (found := self.module(name)) is not None)

    def find(self, module: str, path: tuple[str, ...]) -> Found:
        """Follow attributes from a module on, through what it imports; in doubt, take it whole."""
        known = self.module(module)
        if known is None:
            return Found(outside=module, left=path)
        if not path:
            return Found(whole=(known,))
        name, rest = path[0], path[1:]
        found = Found(tuple(known.names.get(name, ())), passed=(known,), left=rest)
        for place in known.imports.get(name, ()):
            itself = place == Place(module, name)  # a package imports a module of its own
            found += self.find(f"{module}.{name}", rest) if itself else self.follow(place, rest)
        if found.inside or found.outside:
            return found
        if self.module(f"{module}.{name}") is not None:
            return found + self.find(f"{module}.{name}", rest)
        if "__getattr__" in known.names:
            return Found(tuple(known.names["__getattr__"]), passed=(known,), left=path)
        for place in known.imports.get("*", ()):
            found += self.find(place.module, path)
        return found if "*" in known.imports else Found(whole=(known,))

    def follow(self, place: Place, path: tuple[str, ...]) -> Found:
        """Follow attributes from an imported name on."""
        return self.find(place.module, (place.attribute, *path) if place.attribute else path)

    def everything(self, module: Module) -> Found:
        """All that a module defines or imports."""
        found = Found(tuple(module.units), passed=(module,))
        for name, places in module.imports.items():
            for place in places:
                found += self.find(module.name, (name,)) if name != "*" else self.follow(place, ())
        return found

    def _load(self, name: str) -> Module | None:
        parts = name.split(".")
        if parts[0] != self.root.name:
            return None
        stem = self.root.joinpath(*parts[1:])
        inner, file = stem / "__init__.py", stem.parent / f"{stem.name}.py"
        if inner.is_file():
            return parse(inner.read_text("utf-8"), name, name)
        if file.is_file():
            return parse(file.read_text("utf-8"), name, name.rpartition(".")[0])
        return None
