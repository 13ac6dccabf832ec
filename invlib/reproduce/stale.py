"""Which stored results are not of the present code: ``python -m invlib.reproduce.stale``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..measured import read_results
from .bench import cells as bench
from .engine.reached import code_at
from .engine.store import ROOT, fingerprint
from .engine.table import Table
from .engine.work import Cell
from .figures.registry import FIGURES
from .front import cells as front
from .tables.registry import TABLES

Configs = Callable[[dict[str, Any]], list[dict[str, Any]]]
# What is of no cells, by the functions that measure it; their modules are read, and not imported.
MEASURED: dict[str, tuple[str, ...]] = {
    "agreement": ("rehearsal.agreement:predict", "rehearsal.agreement:run"),
    "costs": ("rehearsal.costs:count", "rehearsal.costs:measure"),
    "decoder_memory": ("reproduce.tables.decoder_memory:measure",),
    "determinants": ("rehearsal.determinants:measure",),
    "peak": ("rehearsal.peak:measure",),
    "pipelines": ("rehearsal.pipelines:table",),
    "rehearsal": ("rehearsal.measure:rehearse",),
}


def sources() -> dict[str, Configs]:
    """For every results file, what its numbers depend on; some need to know its size."""
    found: dict[str, Configs] = {
        "bench": lambda values: [cell.config for cell in bench.all_cells(values["images"])],
        "front": partial(_cells, front.cells),
    }
    found |= {name: partial(_shards, table) for name, table in TABLES.items()}
    found |= {name: partial(_measured, places) for name, places in MEASURED.items()}
    return found | {name: partial(_cells, figure.cells) for name, figure in FIGURES.items()}


def _shards(table: Table, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell.config for cell in table.cells(values["prompts"])]


def _measured(places: tuple[str, ...], values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"code": code_at(*place.split(":"))} for place in places]


def _cells(cells: Callable[[str], list[Cell]], values: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell.config for cell in cells("tiny")]


def stale(folder: Path) -> list[str]:
    """The results files in a folder that are missing or were made with other code."""
    names = []
    for name, configs in sources().items():
        file = folder / f"{name}.json"
        values = read_results(file) if file.exists() else {}
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
