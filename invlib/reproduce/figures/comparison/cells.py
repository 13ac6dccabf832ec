"""The paper's comparison of methods, every tick and cross measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ....metrics import decibel
from ...engine.rounding import rounded
from ...engine.work import FOLDER, Cell, load_rows
from ...models.full_size import few
from ...models.profiles import device_name
from .comparing import REVERSIBLE, Measured, own, standard

LIMIT, NEAR = -60.0, -30.0  # dB: 0.1 % and 3 % of the image's amplitude
SHARE = 0.9  # of the images must come back that well
IMAGES = {"hong": 2}  # else 4
METHODS = {
    "edict": "Wallace et al. (EDICT)",
    "bdia": "Zhang et al. (BDIA)",
    "aidi": "Pan et al. (AIDI)",
    "hong": "Hong et al. (Algorithms 1, 2)",
    "ours": "ours",
}
OWN = "own"  # instead of standard images


@dataclass(frozen=True)
class Column:
    """A question that the table asks.

    Attributes:
        label: its heading.
        sampler: what made the images.
        guidance: guidance scale.
        paper: methods that the paper ticks, or None if it does not ask.
    """

    label: str
    sampler: str
    guidance: float
    paper: tuple[str, ...] | None


COLUMNS = (
    Column("standard sampler (DDIM-50)", "DDIM-50", 1.0, ("aidi", "hong")),
    Column("high-order solver (2M-10)", "2M-10", 1.0, ("hong",)),
    Column("CFG 3 (DDIM-50)", "DDIM-50", 3.0, ("edict", "bdia", "hong")),
    Column("CFG 7.5 (DDIM-50)", "DDIM-50", 7.5, None),
)


@dataclass(frozen=True)
class Entry:
    """One measured entry: a method, a column, and whose images it is given."""

    method: str
    column: Column
    images: str = "standard"

    @property
    def count(self) -> int:
        """How many images it is measured on."""
        return IMAGES.get(self.method, 4)

    def cell(self, profile: str) -> Cell:
        """Its work."""
        options = {
            "method": self.method,
            "sampler": self.column.sampler,
            "guidance": self.column.guidance,
            "first": 0,
            "count": few(profile, self.count),
            "profile": profile,
        }
        return Cell("comparison", own if self.images == OWN else standard, options)


def entries() -> list[Entry]:
    """All entries; with guidance, reversible samplers meet images of their own, too."""
    return [
        Entry(method, column, images)
        for method in METHODS
        for images in ("standard", OWN)
        for column in COLUMNS
        if images != OWN or (method in REVERSIBLE and column.guidance > 1)
    ]


def cells(profile: str) -> list[Cell]:
    """The work of the table: one cell an entry."""
    return [entry.cell(profile) for entry in entries()]


def load(profile: str, folder: Path = FOLDER) -> list[tuple[Entry, Measured]]:
    """The stored results, entry by entry; raises as :func:`load_all`."""
    return load_rows(entries(), cells(profile), folder)


def reached(errors: Tensor) -> float:
    """The level in dB that at least ``SHARE`` of the images reach."""
    levels = decibel(errors).sort().values
    return levels[math.ceil(SHARE * len(errors)) - 1].item()


def mark(level: float) -> str:
    """A tick, a double tilde for what comes near, or a cross."""
    return "✔" if level < LIMIT else "≈" if level < NEAR else "✗"


def row(entry: Entry, measured: Measured) -> dict[str, Any]:
    """The numbers behind one mark, and what the paper says."""
    level, column = reached(measured["round_trip"]), entry.column
    more: dict[str, Any] = {}
    if entry.images == OWN:
        more["noise_pair_db"] = median(measured["noise_pair"])
    else:
        more["flagged"] = measured["flagged"].double().mean().item()
    return {
        "method": entry.method,
        "images_of": entry.images,
        "column": column.label,
        "sampler": column.sampler,
        "guidance": column.guidance,
        "images": len(measured["round_trip"]),
        "mark": mark(level),
        "paper": told(entry),
        "round_trip_db": rounded(level),
        "noise_db_median": median(measured["noise"]),
        **more,
        "certified": measured["exact"].double().mean().item(),
        "nfe": measured["nfe"].double().mean().item(),
    }


def told(entry: Entry) -> str | None:
    """What the paper says; with guidance its ticks for reversible samplers are for own images."""
    asked = entry.column.paper
    elsewhere = entry.column.guidance > 1 and entry.method in REVERSIBLE and entry.images != OWN
    if asked is None or elsewhere or entry.method == "ours":
        return None
    return "✔" if entry.method in asked else "✗"


def median(errors: Tensor) -> float | None:
    """The median in dB."""
    return rounded(decibel(errors).quantile(0.5).item())


def summary(results: list[tuple[Entry, Measured]], profile: str) -> dict[str, Any]:
    """The numbers of the table, for ``results/comparison.json``."""
    return {
        "figure": "comparison",
        "profile": profile,
        "limit_db": LIMIT,
        "near_db": NEAR,
        "share": SHARE,
        "seeds": [*range(max(len(measured["round_trip"]) for _, measured in results))],
        "device": device_name(),
        "rows": [row(entry, measured) for entry, measured in results],
    }
