"""The page of all dependencies: tables of ``constraints.lock`` and ``book/licences.json``."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ...markdown import table
from .licences import ALLOWED, JUDGED, licence
from .locked import NPM, THE_PACKAGE, Package, bringing, locked

PAGE = "book/reference/dependencies.md"
WEB = {"book/web.json": "pages of the book", "tests/browser/web.json": "`make browser`"}
BROUGHT_BY = {THE_PACKAGE: "the package", NPM: "`make book` without npm"}
SYSTEMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}


def read(root: Path) -> dict[str, Package]:
    """What is locked."""
    return locked((root / "constraints.lock").read_text())


def declared(root: Path, kind: str) -> dict[str, str]:
    """What packages of a kind, ``python`` or ``npm``, say of their licences."""
    said: dict[str, str] = json.loads((root / "book/licences.json").read_text())[kind]
    return said


def licences(root: Path) -> dict[str, str]:
    """Licences of all packages of Python, by name."""
    said = declared(root, "python")
    return {each.name: licence(each.name, each.version, said) for each in read(root).values()}


def where(marker: str) -> str:
    """For which system or Python a package is, in short; nothing, if for all that count."""
    if "== 'emscripten'" in marker:
        return "Python in a browser"
    if "== 'pypy'" in marker:
        return "PyPy"
    systems = [name for system, name in SYSTEMS.items() if f"sys_platform == '{system}'" in marker]
    pythons = ["Python 3.12"] if "== '3.12.*'" in marker else []
    others = ["not Windows"] if "sys_platform != 'win32'" in marker else []
    return ", ".join(systems + pythons + others)


def markdown(root: Path) -> str:
    """All packages of Python."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    packages, of = read(root), licences(root)
    brought = bringing(project, packages)
    lines = [
        [
            name,
            each.version,
            shown(of[name]) + ("\\*" if name in JUDGED else ""),
            ", ".join(BROUGHT_BY.get(extra, f"`{extra}`") for extra in brought[name]),
            where(each.marker),
        ]
        for name, each in sorted(packages.items())
    ]
    return table(["package", "version", "licence", "brought by", "only on"], lines)


def shown(expression: str) -> str:
    """A licence in words that read well."""
    text = expression.replace("LicenseRef-NVIDIA-Proprietary", "NVIDIA, proprietary")
    text = text.replace("LicenseRef-Proprietary", "proprietary").replace("LicenseRef-BSD", "BSD")
    text = text.replace("LicenseRef-Public-Domain", "public domain")
    return text.replace(" AND ", ", ").replace(" OR ", " or ")


def scripts(root: Path) -> str:
    """The packages of npm of which single files are loaded."""
    said = declared(root, "npm")
    lines = [
        [*package.rsplit("@", 1), shown(said[package]), loader]
        for file, loader in WEB.items()
        for package in json.loads((root / file).read_text())
    ]
    return table(["package", "version", "licence", "loaded by"], lines)


def each_of(expressions: Iterable[str]) -> Counter[str]:
    """How many packages every licence has; one with two counts for both."""
    parts = (part for e in expressions for part in e.replace(" OR ", " AND ").split(" AND "))
    return Counter(parts)


def reasons(root: Path) -> str:
    """The licences that occur, how often, and why they are allowed."""
    found = each_of([*licences(root).values(), *declared(root, "npm").values()])
    order = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    lines = [[shown(name), str(count), ALLOWED[name]] for name, count in order]
    return table(["licence", "packages", "allowed, since it is"], lines, right=["packages"])


def judged(root: Path) -> str:
    """What was read where packages say nothing of themselves, or too much."""
    said = declared(root, "python")
    lines = []
    for name, each in JUDGED.items():
        words = said.get(f"{name}=={each.version}") or "nothing"
        lines.append([f"{name} {each.version}", words, shown(each.licence), each.why])
    return table(["package", "says", "licence", "because of"], lines)
