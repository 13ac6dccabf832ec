"""The page on what `make torture` tried: its tables, from ``results/torture.json``."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...markdown import table

TESTS = Path(__file__).parents[3] / "tests/torture"
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


def found(module: str) -> list[str]:
    """The failures that torture found and that were mended, for which a test stands."""
    marks = ast.walk(ast.parse((TESTS / f"{module}.py").read_text()))
    return [
        ast.literal_eval(mark.args[0])
        for mark in marks
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.found"
    ]


def mended(starts: tuple[str, ...] = ("test_",)) -> list[str]:
    """Those of a part, or of all, whether its modules were run here or not."""
    names = sorted(path.stem for path in TESTS.glob("test_*.py"))
    return [text for name in names if name.startswith(starts) for text in found(name)]


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


def row(name: str, lines: Lines, starts: tuple[str, ...] = ("test_",)) -> list[str]:
    """One part of the table."""
    if not lines:
        return [name, NONE, number(len(mended(starts))), *[""] * 4]
    counts = total(lines)
    mutants = f"{counts['killed']:,} of {counts['mutants']:,} mutants" if counts["mutants"] else ""
    tried = [f"{counts[kind]:,} {kind}" for kind in ("cases", "faults", "inputs") if counts[kind]]
    return [
        name,
        ", ".join(filter(None, (*tried, mutants))) or "-",
        number(len(mended(starts))),
        number(sum(len(line["failed"]) for line in lines)),
        ", ".join(f"{scale:.0%}" for scale in sorted({line["scale"] for line in lines})),
        ", ".join(sorted({line["date"] for line in lines})),
        ", ".join(sorted({line["commit"] for line in lines})),
    ]


def markdown(values: Mapping[str, Any]) -> str:
    """What was tried, part by part, and in all."""
    head = ["part", "tried", "found and mended", "left", "share of all cases", "date", "commit"]
    lines = [row(name, of(values, starts), starts) for name, starts in PARTS.items()]
    every = [line for starts in PARTS.values() for line in of(values, starts)]
    return table(head, [*lines, row("**in all**", every)] if every else lines)


def unknown(values: Mapping[str, Any]) -> list[str]:
    """The parts that nobody has run, or of which nobody knows whether they left tests out."""
    ran = values["modules"]
    never = sorted({path.stem for path in TESTS.glob("test_*.py")} - {*ran})
    silent = sorted(name for name, line in ran.items() if "skipped" not in line)
    said = [f"`{name}` as a whole" for name in never]
    if silent:
        names = ", ".join(f"`{name}`" for name in silent)
        said.append(f"Whether tests were left out was not recorded of {names}")
    return said


def listed(values: Mapping[str, Any]) -> str:
    """The failures that were found, those that are known or left, and what was not tried."""
    modules = values["modules"].values()
    kinds = (("known", "Known, and not mended"), ("failed", "Left"), ("skipped", "Not tried"))
    said = {"Mended": mended()}
    said |= {
        title: [text for line in modules for text in line.get(key, [])] for key, title in kinds
    }
    said["Not tried"] += unknown(values)
    parts = []
    for title, texts in said.items():
        body = "\n".join(f"* {text[0].upper()}{text[1:].rstrip('.')}." for text in texts)
        parts.append(f"**{title}**\n\n{body or 'None.'}")
    return "\n\n".join(parts)
