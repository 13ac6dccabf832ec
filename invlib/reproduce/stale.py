"""Which stored results are not of the present code: ``python -m invlib.reproduce.stale``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import bench, decoding, exactness, flow, front, reversible
from .figures import FIGURES, ROOT
from .store import fingerprint
from .table import Table
from .work import Cell

Configs = Callable[[dict[str, Any]], list[dict[str, Any]]]
TABLES: tuple[Table, ...] = (
    exactness.TABLE,
    decoding.TABLE,
    decoding.IDENTICAL,
    flow.TABLE,
    reversible.TABLE,
)


def sources() -> dict[str, Configs]:
    """For every results file, what its numbers depend on; some need to know its size."""
    found: dict[str, Configs] = {
        "bench": lambda values: bench.configs(values["images"]),
        "front": partial(_cells, front.cells),
    }
    found |= {table.name: partial(_shards, table) for table in TABLES}
    return found | {name: partial(_cells, figure.cells) for name, figure in FIGURES.items()}


def _shards(table: Table, values: dict[str, Any]) -> list[dict[str, Any]]:
    return table.configs(values["prompts"])


def _cells(cells: Callable[[str], list[Cell]], values: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell.config for cell in cells("tiny")]


def stale(folder: Path) -> list[str]:
    """The results files in a folder that are missing or were made with other code."""
    names = []
    for name, configs in sources().items():
        file = folder / f"{name}.json"
        values = json.loads(file.read_text()) if file.exists() else {}
        if not values or values.get("code") != fingerprint(configs(values)):
            names.append(file.name)
    return names


def main() -> None:
    """Name the stale results, and end with exit code 1 if there are any."""
    names = stale(ROOT / "results")
    if names:
        sys.exit(f"made with other code, or missing: {', '.join(names)}")
    print("all stored results are of the present code")


if __name__ == "__main__":
    main()
