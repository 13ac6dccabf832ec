"""The rows of all rehearsals in one results file, and as a table on a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..markdown import table
from ..reproduce.engine.reached import code_of
from ..reproduce.engine.store import write_json
from .measure import rehearse

KEY = ("arch", "device", "dtype", "compile", "guidance", "size", "batch")
COLUMNS = {
    "sampling": "sampling",
    "whole_trajectory": "inverting 2M, all steps at once",
    "stepwise": "inverting DDIM, step by step",
    "jvp_cost": "a derivative costs",
    "peak_gb": "peak memory",
}
WANTED = [("sd21", "CPU", d, 1) for d in ("float32", "bfloat16")] + [
    (arch, "GPU", dtype, batch)
    for arch, dtype in (("sd21", "float32"), ("sd21", "float16"), ("sdxl", "float16"))
    for batch in (1, 8)
]
CAPTION = (
    "Evaluations of the network a second. The weights are random: only cost is measured, and "
    "nothing is said about whether an inversion succeeds. Load: processes that wanted the CPU when "
    "the run began."
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
    new = known(path) | {_key(row): row for row in rows}
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
        return {_key(row): row for row in json.loads(path.read_text("utf-8"))["rows"]}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a results file of rehearsals") from error


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on a page; a device or dtype that nobody ran says so."""
    head = ["network", "device", "dtype", "images", *COLUMNS.values()]
    lines: list[list[str]] = []
    rows = list(values["rows"])
    for wanted in WANTED:
        found = [row for row in rows if _page_key(row) == wanted]
        rows = [row for row in rows if row not in found]
        if found:
            lines += [_cells(row) for row in found]
        else:
            lines.append([*map(str, wanted), *["not measured"] * len(COLUMNS)])
    return f"{CAPTION}\n\n{table(head, [*lines, *map(_cells, rows)])}"


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _page_key(row: dict[str, Any]) -> tuple[Any, ...]:
    place = "CPU" if row["device"] == "CPU" else "GPU"
    return row["arch"], place, row["dtype"], row["batch"]


def _cells(row: dict[str, Any]) -> list[str]:
    device = row["device"]
    if row["threads"]:
        device += f", {row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    if row["load"] is not None:
        device += f", load {row['load']:g}"
    dtype = row["dtype"] + (", compiled" if row["compile"] else "")
    first = [row["arch"], device, dtype, str(row["batch"])]
    units = ["{:.3g}/s", "{:.3g}/s", "{:.3g}/s", "{:.2g} evaluations", "{:.1f} GB"]
    missing = row["note"] or "not measured"
    numbers = [
        missing if row[name] is None else unit.format(row[name])
        for name, unit in zip(COLUMNS, units, strict=True)
    ]
    return first + numbers
