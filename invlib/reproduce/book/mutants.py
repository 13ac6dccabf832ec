"""How much of the core the tests reach, and which changes of it they notice: tables of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import PurePath
from typing import Any

import torch

from ...markdown import table
from ..watermark.scores import wilson

Line = Mapping[str, Any]


def room(file: str) -> str:
    """The file or folder of ``invlib`` that a file is in."""
    return PurePath(file).parts[1].removesuffix(".py")


def reached(pair: Iterable[int]) -> str:
    """What is reached, of how many, and the share."""
    some, every = pair
    return f"{some:,} of {every:,} ({some / every:.1%})" if every else "-"


def coverage(values: Line) -> str:
    """Lines and branches of the core that its tests reach, by rooms and in all."""

    def row(name: str, files: Iterable[Line]) -> list[str]:
        files = [*files]
        pairs = [
            [sum(file[kind][k] for file in files) for k in (0, 1)] for kind in ("lines", "branches")
        ]
        return [name, *map(reached, pairs)]

    found = sorted(values["files"].items(), key=lambda pair: room(pair[0]))
    rooms = [
        row(name, [line for _, line in pairs])
        for name, pairs in groupby(found, key=lambda pair: room(pair[0]))
    ]
    total = row("**in all**", [line for _, line in found])
    head = ["room of the core", "lines", "branches"]
    return f"{table(head, [*rooms, total])}\n\nOf {values['date']}, commit {values['commit']}."


def interval(killed: int, tried: int) -> str:
    """Wilson's 95 % interval of the share that is killed."""
    low, high = wilson(torch.arange(tried) < killed)
    return f"{low:.0%} to {high:.0%}"


def equivalent(line: Line) -> int:
    """How many mutants of a module do what the code does, so that nobody can notice them."""
    return sum(mutant["equivalent"] for mutant in line["survived"])


def markdown(values: Line) -> str:
    """How many mutants of each module were killed, and how sure that share is."""
    head = ["module", "places", "mutants", "killed", "by time", "equivalent", "share", "95 %"]
    head += ["let live", "missed", "date", "commit"]
    rows = []
    for name, line in values["modules"].items():
        tried, killed, same = line["mutants"], line["killed"], equivalent(line)
        judged = sum(bool(mutant["why"]) for mutant in line["survived"])
        counts = [line["places"], tried, killed, line["timed out"], same]
        shares = [f"{killed / (tried - same):.0%}", interval(killed, tried - same)]
        left = [judged - same, len(line["survived"]) - judged]
        rows.append(
            [name, *map(str, counts), *shares, *map(str, left), line["date"], line["commit"]]
        )
    return table(head, rows)


def survivors(values: Line) -> str:
    """Every mutant that no test noticed, and why none can or need, or that one is missing."""
    said = []
    for name, line in values["modules"].items():
        for mutant in line["survived"]:
            where = f"{mutant['file']}:{mutant['function']}".rstrip(":")
            what = f"`{mutant['before']}` became `{mutant['after']}`"
            kind = "Equivalent: " if mutant["equivalent"] else ""
            why = mutant["why"] or "A test is missing."
            said.append(f"* **{name}**, `{where}`: {what}. {kind}{why}")
    return "\n".join(said) or "None."
