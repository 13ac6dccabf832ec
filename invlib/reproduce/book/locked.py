"""What ``constraints.lock`` pins, for whose sake, and which extra brings it.

Only the standard library is needed: ``.ci/sbom`` reads it, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

THE_PACKAGE = ""  # in place of an extra: what is needed without any
NPM = "npm"  # the extra of what `.ci/lent.in` names
VIA = re.compile(r"^ +#(?:   | via )(.+)$", re.MULTILINE)
REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[([\w, -]+)\])?")


class Package(NamedTuple):
    """A pinned package.

    Attributes:
        name: as the package index normalises it.
        version: the one version.
        marker: systems and Pythons that it is for; all, where empty.
        hashes: SHA-256 of each of its files.
        via: names of the packages that require it, and files that name it.
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    via: tuple[str, ...]


def normal(name: str) -> str:
    """A name as the package index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> dict[str, Package]:
    """The packages of a lock file of uv, by name.

    Raises:
        ValueError: if a package has no hash.
    """
    found = {}
    for block in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]:
        pin, _, marker = block.partition("\n")[0].rstrip(" \\").partition(" ; ")
        name, version = pin.split("==")
        hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})(?: \\)?$", block, re.MULTILINE))
        if not hashes:
            raise ValueError(f"{name} has no hash: run make lock")
        via = tuple(VIA.findall(block))
        found[normal(name)] = Package(normal(name), version, marker, hashes, via)
    return found


def named(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of requirements, and the extras that they ask for."""
    for line in lines:
        if found := REQUIREMENT.match(line):
            yield normal(found[1]), tuple(re.findall(r"[\w-]+", found[2] or ""))


def extras(project: Mapping[str, Any]) -> dict[str, tuple[set[str], set[str]]]:
    """For every extra: packages that it names, and extras that it is made of."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    lines = {THE_PACKAGE: project["dependencies"], **project["optional-dependencies"]}
    for extra, wanted in lines.items():
        names = dict(named(wanted))
        inner = {
            other for name, asked in names.items() if name == project["name"] for other in asked
        }
        found[extra] = ({*names} - {project["name"]}, inner - {extra})
    return found


def brought(names: set[str], packages: Mapping[str, Package]) -> set[str]:
    """Packages, and all that they require."""
    found: set[str] = set()
    new = names & {*packages}
    while new:
        found |= new
        new = {name for name, each in packages.items() if found & {*map(normal, each.via)}} - found
    return found


def bringing(project: Mapping[str, Any], packages: Mapping[str, Package]) -> dict[str, list[str]]:
    """For every package the extras that bring it, without those that only include another.

    Args:
        project: table ``project`` of ``pyproject.toml``.
        packages: what is locked.
    """
    parts = extras(project)
    all_of: dict[str, set[str]] = {}
    for extra in parts:
        inner: set[str] = set()
        new = {extra}
        while new:
            inner |= new
            new = {other for each in new for other in parts[each][1]} - inner
        all_of[extra] = inner | {THE_PACKAGE}
    of = {extra: brought(names, packages) for extra, (names, _) in parts.items()}
    of[NPM] = {name for name, each in packages.items() if any(".ci/" in via for via in each.via)}
    found = {}
    for name in packages:
        mine = [extra for extra, names in of.items() if name in names]
        found[name] = [e for e in mine if not any(e != o and o in all_of.get(e, ()) for o in mine)]
    return found
