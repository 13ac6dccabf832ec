"""The rows of all rehearsals in one results file, and as a table on a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..markdown import table
from ..reproduce.engine.reached import code_of
from ..reproduce.engine.store import write_json
from .full_size import FULL_SIZE
from .measure import rehearse

KEY = ("arch", "device", "dtype", "tf32", "compile", "guidance", "size", "batch")
COLUMNS = {
    "sampling": "sampling",
    "whole_trajectory": "inverting 2M, all steps at once",
    "stepwise": "inverting DDIM, step by step",
    "jvp_cost": "a derivative costs",
    "sampling_gb": "peak memory, sampling",
    "inverting_gb": "inverting",
    "peak_gb": "with a derivative",
}
UNITS = dict(
    zip(COLUMNS, ["{:.3g}/s"] * 3 + ["{:.2g} evaluations"] + ["{:.1f} GB"] * 3, strict=True)
)
WANTED = [
    *(("sd21", "CPU", dtype) for dtype in ("float32", "bfloat16")),
    *((arch, "GPU", "float32, TF32, bfloat16, float16; compiled or not") for arch in FULL_SIZE),
]
CAPTION = (
    "Evaluations of the network a second; the size is that of the latents. The weights are random: "
    "only cost is measured, and nothing is said about whether an inversion succeeds. Load: "
    "processes that wanted the CPU when the run began; where it is noted, one thread of a CPU is "
    "timed by its own time."
)


def keep(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Put rows into a results file, in place of earlier rows of the same setting.

    Args:
        path: the file; made if there is none.
        rows: from :func:`invlib.rehearsal.rehearse`.

    Returns:
        The values that the file now holds.

    Raises:
        ValueError: if the file exists and is no results file of rehearsals.
    """
    new = known(path) | {row_key(row): row for row in rows}
    values = {"table": "rehearsal", "weights": "random", "rows": [*new.values()]}
    write_json(path, values, [{"code": code_of(rehearse)}])
    return values


def known(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of a results file by their settings; none where there is no file.

    Raises:
        ValueError: if the file exists and is no results file of rehearsals.
    """
    if not path.exists():
        return {}
    try:
        return {row_key(row): row for row in json.loads(path.read_text("utf-8"))["rows"]}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a results file of rehearsals") from error


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on a page; a device or dtype that nobody ran says so."""
    head = ["network", "size", "device", "dtype", "images", *COLUMNS.values()]
    lines: list[list[str]] = []
    rows = list(values["rows"])
    for wanted in WANTED:
        found = [row for row in rows if _page_key(row) == wanted]
        rows = [row for row in rows if row not in found]
        if found:
            lines += [_cells(row) for row in found]
        else:
            arch, *place = wanted
            lines.append([arch, "its own", *place, "1, 8", *["not measured"] * len(COLUMNS)])
    return f"{CAPTION}\n\n{table(head, [*lines, *map(_cells, rows)])}"


def row_key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a setting from others; before TF32 was a setting, it was off."""
    return tuple({"tf32": False, **row}[name] for name in KEY)


def _page_key(row: dict[str, Any]) -> tuple[str, ...]:
    """The line that a row takes the place of, if any."""
    if row["device"] == "CPU":
        return row["arch"], "CPU", row["dtype"]
    return next((wanted for wanted in WANTED if wanted[:2] == (row["arch"], "GPU")), ())


def _cells(row: dict[str, Any]) -> list[str]:
    device = row["device"]
    if row["threads"]:
        device += f", {row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    if row["load"] is not None:
        device += f", load {row['load']:g}"
    tf32 = ", TF32" if row.get("tf32") else ""
    dtype = row["dtype"] + tf32 + (", compiled" if row["compile"] else "")
    size = "its own" if row["size"] is None else str(row["size"])
    first = [row["arch"], size, device, dtype, str(row["batch"])]
    both = [row.get(f"{name}_gb") for name in ("whole_trajectory", "stepwise")]
    values = {**row, "inverting_gb": max((v for v in both if v is not None), default=None)}
    missing = row["note"] or "not measured"
    numbers = [
        missing if (value := values.get(name)) is None else unit.format(value)
        for name, unit in UNITS.items()
    ]
    return first + numbers
