"""Figure 2 of the paper: what each inversion recovers of image and noise."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....inversion import Inversion
from ....inverters import invert, naive
from ....metrics import nmse
from ....sampling import sample
from ....solvers import Solver, ddim, dpm_solver_pp_2m
from ...engine.rounding import level
from ...engine.work import FOLDER, Cell, load_rows
from ...models import published
from ...models.full_size import few, short
from ...models.profiles import Space, device_name, label, spaces


@dataclass(frozen=True)
class Row:
    """One row: a sampler with its steps, and an inversion with its steps."""

    sampler: str
    steps: int
    method: str
    inversion_steps: int

    @property
    def label(self) -> str:
        """How the row is called on the figure."""
        return f"{METHOD_NAMES[self.method]} / {self.inversion_steps}"


METHOD_NAMES = {
    "naive": "naive",
    "algorithm1": "Algorithm 1",
    "algorithm2": "Algorithm 2",
    "exact": "ours",
}
SAMPLERS = {"DDIM": ddim, "DPM-Solver++(2M)": dpm_solver_pp_2m}
ROWS = (
    Row("DDIM", 50, "naive", 1000),
    Row("DDIM", 50, "algorithm1", 50),
    Row("DPM-Solver++(2M)", 10, "naive", 1000),
    Row("DPM-Solver++(2M)", 10, "algorithm1", 50),
    Row("DPM-Solver++(2M)", 10, "algorithm2", 10),
    Row("DPM-Solver++(2M)", 10, "exact", 10),
)
COUNT = 3
SPACES = ("pixel", "latent")
GUIDANCE = {"pixel": 1.0, "latent": 3.0}


@dataclass(frozen=True)
class Shown:
    """What the figure says of a space; the model itself is not loaded to draw."""

    name: str
    guidance: float
    side: int

    @property
    def label(self) -> str:
        """What to call it."""
        return label(self.name, self.side, self.guidance)


def cells(profile: str) -> list[Cell]:
    """The work of the figure: one cell a space and a row."""
    return [
        Cell(
            "fig2",
            measure,
            {"space": number, **asdict(row), "count": few(profile, COUNT), "profile": profile},
        )
        for number in range(len(SPACES))
        for row in ROWS
    ]


def load(profile: str, folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The results of the figure.

    Args:
        profile: ``tiny`` or ``paper``.
        folder: where finished cells are stored.

    Returns:
        One dictionary per space and row: the ``space`` as it is shown, ``row``, pictures of sample
        0, and NMSE values per sample.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    at = [(space, row) for space in SPACES for row in ROWS]
    return [
        {"space": Shown(space, GUIDANCE[space], result["image"].shape[-1]), "row": row, **result}
        for (space, row), result in load_rows(at, cells(profile), folder)
    ]


@cache
def rooms(profile: str, count: int) -> list[Space]:
    """Both models with some samples, loaded once a process."""
    return spaces(profile, count)


def measure(
    space: int,
    sampler: str,
    steps: int,
    method: str,
    inversion_steps: int,
    count: int,
    profile: str,
) -> dict[str, Tensor]:
    """Sample, invert, sample again; keep the pictures of the first sample and all errors."""
    room, row = rooms(profile, count)[space], Row(sampler, steps, method, inversion_steps)
    solver = SAMPLERS[sampler](room.grid(steps))
    with torch.no_grad():
        image = sample(room.denoiser, room.noise, solver).image
        began = time.process_time()
        inversion = _invert(room, row, image, solver, short(profile, inversion_steps))
        seconds = time.process_time() - began
        again = sample(room.denoiser, inversion.noise, solver).image
        pictures = {
            "image": room.picture(image),
            "image_again": room.picture(again),
            "noise": room.noise_picture(room.noise),
            "noise_again": room.noise_picture(inversion.noise),
        }
    errors = {
        "noise_nmse": nmse(inversion.noise, room.noise),
        "state_nmse": nmse(again, image),
        "image_nmse": nmse(pictures["image_again"], pictures["image"]),
        "noise_picture_nmse": nmse(pictures["noise_again"], pictures["noise"]),
    }
    first = {name: picture[0].float() for name, picture in pictures.items()}
    return {**first, **errors, "nfe": inversion.nfe, "seconds": torch.tensor(seconds / count)}


def _invert(space: Space, row: Row, image: Tensor, solver: Solver, steps: int) -> Inversion:
    if row.method == "naive":
        return naive(space.denoiser, image, solver, steps=steps)
    if row.method == "algorithm1":
        fine = ddim(space.grid(steps))
        return invert(space.denoiser, image, fine, method=published.algorithm1)
    method = published.METHODS.get(row.method, row.method)
    return invert(space.denoiser, image, solver, method=method)


def summary(results: list[dict[str, Any]], profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/fig2.json``."""
    rows = []
    for r in results:
        values = {
            name: {"first": level(r[name][0], 2), "median": level(r[name].median(), 2)}
            for name in ("noise_nmse", "state_nmse", "image_nmse")
        }
        rows.append(
            {
                "space": r["space"].name,
                "guidance": r["space"].guidance,
                **asdict(r["row"]),
                **{f"{k}_db": v for k, v in values.items()},
                "nfe_per_image": r["nfe"].double().mean().item(),
                "seconds": round(r["seconds"].item(), 2),
            }
        )
    return {
        "figure": 2,
        "profile": profile,
        "images": few(profile, COUNT),
        "seeds": [*range(few(profile, COUNT))],
        "device": device_name(),
        "rows": rows,
    }
