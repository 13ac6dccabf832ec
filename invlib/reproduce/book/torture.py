"""The page on what `make torture` tried: its tables, from ``results/torture.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ...markdown import table

NONE = "not measured"
PARTS: Mapping[str, tuple[str, ...]] = {  # by how the names of their modules begin
    "random problems and calls": ("test_properties", "test_metamorphic", "test_pipelines"),
    "numerical faults": ("test_numerical",),
    "process faults": ("test_process",),
    "untrusted input": ("test_input",),
    "the command line": ("test_cli",),
    "supply chain": ("test_supply",),
    "coverage and mutants": ("test_mutants", "test_coverage"),
    "soak": ("test_soak",),
    "the counting itself": ("test_counting",),
}
Lines = list[dict[str, Any]]


def of(values: Mapping[str, Any], starts: tuple[str, ...]) -> Lines:
    """The lines of a part's modules, those in which some test ran."""
    modules = values["modules"].items()
    return [line for name, line in modules if name.startswith(starts) and line["tests"]]


def total(lines: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many things of every kind were tried."""
    found: Counter[str] = Counter()
    for line in lines:
        found.update(line["counts"])
    return found


def number(value: int) -> str:
    """A count; nothing is a dash."""
    return f"{value:,}" if value else "-"


def row(name: str, lines: Lines) -> list[str]:
    """One part of the table."""
    if not lines:
        return [name, NONE, *[""] * 5]
    counts = total(lines)
    mutants = f"{counts['killed']:,} of {counts['mutants']:,} mutants" if counts["mutants"] else ""
    tried = [f"{counts[kind]:,} {kind}" for kind in ("cases", "faults", "inputs") if counts[kind]]
    return [
        name,
        ", ".join(filter(None, (*tried, mutants))) or "-",
        number(sum(len(line["found"]) for line in lines)),
        number(sum(len(line["failed"]) for line in lines)),
        ", ".join(f"{scale:.0%}" for scale in sorted({line["scale"] for line in lines})),
        ", ".join(sorted({line["date"] for line in lines})),
        ", ".join(sorted({line["commit"] for line in lines})),
    ]


def markdown(values: Mapping[str, Any]) -> str:
    """What was tried, part by part, and in all."""
    head = ["part", "tried", "found and mended", "left", "share of all cases", "date", "commit"]
    lines = [row(name, of(values, starts)) for name, starts in PARTS.items()]
    every = [line for starts in PARTS.values() for line in of(values, starts)]
    return table(head, [*lines, row("**in all**", every)] if every else lines)


def listed(values: Mapping[str, Any]) -> str:
    """The failures that were found, those that are known, and those that are left."""
    modules = values["modules"].values()
    kinds = (("found", "Mended"), ("known", "Known, and not mended"), ("failed", "Left"))
    parts = []
    for key, title in kinds:
        said = [text for line in modules for text in line[key]]
        body = "\n".join(f"* {text[0].upper()}{text[1:].rstrip('.')}." for text in said)
        parts.append(f"**{title}**\n\n{body or 'None.'}")
    return "\n\n".join(parts)
