"""Figure 6 of the paper: edits of two portraits, and what they do to the background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....metrics import decibel
from ...editing import cells as editing_cells
from ...editing import table as editing_table
from ...editing.cells import NEW_FROM, NODE, ROWS
from ...editing.errors import errors
from ...editing.scenes import BLOCK, SAMPLER, VARIANTS
from ...editing.table import KINDS, Results
from ...engine.rounding import short
from ...engine.work import FOLDER, Cell
from ...models.profiles import device_name

SHOWN = ("oracle", "naive", "dagger", "algorithm1", "ours")
PAPER = {  # background NMSE of the paper's four pictures: bus, bus, bottle, bottle
    "oracle": (0.0015, 0.0038, 0.0007, 0.0013),
    "naive": (0.0059, 0.0063, 0.0178, 0.0351),
    "dagger": (0.0042, 0.0050, 0.0071, 0.0069),
    "algorithm1": (0.0017, 0.0034, 0.0029, 0.0026),
}


def cells(profile: str) -> list[Cell]:
    """The work of the figure: the first portraits of the editing table."""
    return editing_cells.cells(profile, BLOCK)


def load(profile: str, folder: Path = FOLDER) -> Results:
    """The results of the two portraits, by guidance scale and name.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    return editing_table.load(profile, folder, portraits=BLOCK)


def summary(results: Results, profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/fig6.json``."""
    rows = []
    for scale, values in results.items():
        for kind, (mask, blend) in KINDS.items():
            for row in SHOWN:
                found = errors(values, row, kind)
                entry = {
                    "guidance": scale,
                    "row": row,
                    "label": ROWS[row].label,
                    "mask": mask,
                    "blend": blend,
                    **{f"{k}_nmse": _lists(v.tolist()) for k, v in found.items()},
                }
                if kind == "given" and row != "oracle":
                    level = decibel(values[f"{row}/state"]).tolist()
                    entry["state_db"] = [round(v, 2) for v in level]
                rows.append(entry)
    return {
        "figure": 6,
        "profile": profile,
        "sampler": SAMPLER,
        "blended state": NODE,
        "new prompt from step": NEW_FROM,
        "images": BLOCK,
        "edits of each": VARIANTS,
        "seeds": [*range(BLOCK)],
        "device": device_name(),
        "paper_background_nmse": {k: list(v) for k, v in PAPER.items()},
        "rows": rows,
    }


def _lists(values: list[list[float]]) -> list[list[float | None]]:
    """Numbers of edits, by portrait, with three digits."""
    return [[short(v) for v in row] for row in values]
