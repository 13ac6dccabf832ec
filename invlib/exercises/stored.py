"""A notebook of the book as it is stored: its cells, and the values that its text shows."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Value = float | int | str
GLUE = re.compile(r"\{glue:text\}`([^`:]+)(?::([^`]*))?`")


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook.

    Attributes:
        kind: ``markdown`` or ``code``.
        source: its text.
        metadata: what the notebook says about it, such as ``mystnb``.
        outputs: what it has shown, as the notebook stores it.
    """

    kind: str
    source: str
    metadata: Mapping[str, Any]
    outputs: tuple[Mapping[str, Any], ...]


def cells(path: Path) -> tuple[Cell, ...]:
    """The cells of a notebook file."""
    return tuple(
        Cell(
            cell["cell_type"],
            "".join(cell["source"]),
            cell["metadata"],
            tuple(cell.get("outputs", ())),
        )
        for cell in json.loads(path.read_text())["cells"]
    )


def values(notebook: Iterable[Cell]) -> dict[str, Value]:
    """What the notebook has glued, by its name."""
    found = {}
    for output in (output for cell in notebook for output in cell.outputs):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        if name:
            [text] = output["data"].values()
            found[name] = ast.literal_eval("".join(text))
    return found


def shown(text: str, known: Mapping[str, Value]) -> str:
    """A text with glued values in the place of their names.

    Raises:
        KeyError: if a name was not glued.
    """
    return GLUE.sub(lambda found: format(known[found[1]], found[2] or ""), text)
