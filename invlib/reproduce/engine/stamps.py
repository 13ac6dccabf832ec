"""Rows that say which code they are of, so that a long table is filled part by part, anywhere."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...measured import read_results
from .store import fingerprint
from .work import Cell

Rows = list[dict[str, Any]]
Place = TypeVar("Place", bound=Hashable)  # what some rows of a table are of


def read_rows(path: Path) -> Rows:
    """The rows of a results file, none if there is no such file."""
    return read_results(path, "rows")["rows"] if path.exists() else []


def stamp(cells: Iterable[Cell]) -> str:
    """What the rows made from some cells keep as ``code``."""
    return fingerprint(cell.config for cell in cells)


def made_of(rows: Rows, cells: Sequence[Cell]) -> int:
    """Of how many cells, the first ones, rows were made with the present code; 0 of other code."""
    code = rows[0].get("code") if rows else None
    counts = range(len(cells), 0, -1)
    return next((k for k in counts if code and stamp(cells[:k]) == code), 0)


def filled_up(
    made: Mapping[Place, Rows], before: Mapping[Place, Rows], work: Mapping[Place, Sequence[Cell]]
) -> tuple[Rows, int]:
    """The rows of every place: those of the present code and most cells, else those of before.

    Args:
        made: rows by place, from what is stored here for the present code.
        before: rows by place, of any code, from the results file.
        work: the cells of every place, in order.

    Returns:
        The rows, and how many of them are of the present code.
    """
    found: Rows = []
    fresh = 0
    for place, cells in work.items():
        here, there = made.get(place, []), before.get(place, [])
        known = made_of(there, cells)
        rows = there if known > made_of(here, cells) or not here else here
        found += rows
        fresh += len(rows) if here or known else 0
    return found, fresh
