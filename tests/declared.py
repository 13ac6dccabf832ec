"""What ``pyproject.toml`` and ``constraints.txt`` declare."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from chapters import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras: str) -> Iterator[tuple[str, SpecifierSet]]:
    """Packages and their bounds, of some extras, and of those that they are made of.

    Args:
        extras: names; an empty one stands for the dependencies without an extra.
    """
    for extra in extras:
        lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
        for line in lines:
            each = Requirement(line)
            if each.name == PROJECT["name"]:
                yield from requirements(*each.extras)
            else:
                yield canonicalize_name(each.name), each.specifier


def pinned() -> dict[str, Version]:
    """The versions that were tested together."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}
