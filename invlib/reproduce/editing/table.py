"""Background-preserving editing in numbers: ``results/editing.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...inverters import naive
from ...metrics import decibel
from ..engine.rounding import short
from ..engine.work import FOLDER, Cell, load_rows
from ..models.profiles import device_name
from . import cells as editing_cells
from .cells import NEW_FROM, NODE, PORTRAITS, ROWS, SCALES
from .errors import DRAWS, errors, interval, overlap, unedited
from .scenes import BLOCK, EDITS, SAMPLER, VARIANTS

PAPER = {  # background NMSE x 1e-3 and its spread: SD, 300 images, CFG 7.5
    "oracle": (11.0, 1.7),
    "naive": (30.4, 4.8),
    "dagger": (18.4, 2.0),
    "algorithm1": (12.8, 2.0),
}
KINDS = {  # where an edit may act, and the states that are blended
    "given": ("renderer", f"state {NODE}"),
    "attention": ("attention", f"state {NODE}"),
    "everywhere": ("renderer", "all states"),
}
Results = dict[float, dict[str, Tensor]]


def cells(profile: str) -> list[Cell]:
    """The work of the table; Figure 6 shows a part of it."""
    return editing_cells.cells(profile)


def load(profile: str, folder: Path = FOLDER, *, portraits: int = PORTRAITS) -> Results:
    """The results of all portraits, by guidance scale and name, portraits first.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    work = editing_cells.cells(profile, portraits)
    parts: dict[float, dict[str, list[Tensor]]] = {scale: {} for scale in SCALES}
    for cell, result in load_rows(work, work, folder):
        known = parts[cell.options["guidance"]]
        for name, value in result.items():
            known.setdefault(name, []).append(value.expand(BLOCK) if value.ndim == 0 else value)
    return {
        scale: {name: torch.cat(values) for name, values in known.items()}
        for scale, known in parts.items()
    }


def summary(results: Results, profile: str) -> dict[str, Any]:
    """The numbers of the table, for ``results/editing.json``."""
    rows = [
        line(values, scale, row, kind)
        for scale, values in results.items()
        for kind in KINDS
        for row in ROWS
        if f"{row}/{kind}" in values
    ]
    fits = {f"{scale:g}": unedited(values) for scale, values in results.items()}
    return {
        "figure": "editing",
        "profile": profile,
        "sampler": SAMPLER,
        "new prompt": f"steps {NEW_FROM} to {SAMPLER.rpartition('-')[2]}",
        "images": PORTRAITS,
        "edits of each": VARIANTS,
        "seeds": [*range(PORTRAITS)],
        "device": device_name(),
        "interval": f"95 % bootstrap of the mean, portraits drawn, {DRAWS} sets",
        "unedited_edit_nmse_median": {k: short(v["edit"].quantile(0.5)) for k, v in fits.items()},
        "fit_nmse_median": {k: short(v["region"].quantile(0.5)) for k, v in fits.items()},
        "paper_background_e3": {k: {"mean": m, "spread": s} for k, (m, s) in PAPER.items()},
        "rows": rows,
    }


def line(values: dict[str, Tensor], scale: float, row: str, kind: str) -> dict[str, Any]:
    """One row of the results."""
    found = errors(values, row, kind)
    background = 1e3 * found["background"]
    mask, blend = KINDS[kind]
    result: dict[str, Any] = {
        "guidance": scale,
        "row": row,
        "label": ROWS[row].label,
        "mask": mask,
        "blend": blend,
        "edits": background.numel(),
        "background_e3_mean": short(background.mean()),
        "background_e3_ci95": [short(v) for v in interval(background)],
        "background_e3_std": short(background.std()),
        "background_e3_median": short(background.quantile(0.5)),
        "background_e3_worst": short(background.max()),
        "edit_nmse_median": short(found["edit"].quantile(0.5)),
        "oracle_e3_mean": short(1e3 * found["oracle"].mean()),
        "oracle_e3_median": short(1e3 * found["oracle"].quantile(0.5)),
    }
    for k, attribute in enumerate(EDITS):  # portraits take turns
        part = attribute.partition("_")[0]
        for name, value in (("background", background), ("oracle", 1e3 * found["oracle"])):
            result[f"{name}_e3_median_{part}"] = short(value[k :: len(EDITS)].quantile(0.5))
    if kind == "attention":
        result["mask_overlap"] = [short(v) for v in overlap(values, row)]
    if kind == "given" and f"{row}/state" in values:
        wrong = ["state", "noise"] if ROWS[row].latents is None else ["latents", "state", "noise"]
        for name in wrong:
            result[f"{name}_db_median"] = short(decibel(values[f"{row}/{name}"]).quantile(0.5))
        searched = [] if ROWS[row].inverter is naive else ["solved"]
        for name in ("nfe", *searched, "seconds", "seconds_decoder"):
            result[name] = short(values[f"{row}/{name}"].double().mean())
    return result
