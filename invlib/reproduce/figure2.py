"""Figure 2 of the paper: what each inversion recovers of image and noise."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..inversion import Inversion, invert
from ..inverters import naive
from ..metrics import decibel, nmse
from ..sampling import sample
from ..solvers import Solver, ddim, dpm_solver_pp_2m
from .profiles import Space, device_name, spaces
from .store import cell


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
    "whole_trajectory": "ours",
}
SAMPLERS = {"DDIM": ddim, "DPM-Solver++(2M)": dpm_solver_pp_2m}
ROWS = (
    Row("DDIM", 50, "naive", 1000),
    Row("DDIM", 50, "algorithm1", 50),
    Row("DPM-Solver++(2M)", 10, "naive", 1000),
    Row("DPM-Solver++(2M)", 10, "algorithm1", 50),
    Row("DPM-Solver++(2M)", 10, "algorithm2", 10),
    Row("DPM-Solver++(2M)", 10, "whole_trajectory", 10),
)
COUNT = 4


def compute(profile: str, folder: Path, *, progress: bool = True) -> list[dict[str, Any]]:
    """Do, or load, all cells of the figure.

    Args:
        profile: ``tiny`` or ``paper``.
        folder: where finished cells are stored; an interrupted run resumes from it.
        progress: show a progress bar.

    Returns:
        One dictionary per space and row: ``space``, ``row``, ``guidance``, pictures of sample 0,
        and NMSE values in dB per sample.
    """
    work = [(space, row) for space in spaces(profile, COUNT) for row in ROWS]
    bar = tqdm(work, desc="figure 2", disable=not progress, unit="cell")
    results = []
    for space, row in bar:
        bar.set_postfix_str(f"{space.name}: {row.sampler}-{row.steps}, {row.label}")
        config = {"figure": 2, "row": asdict(row), "space": space.name, "model": space.model}
        config |= {"guidance": space.guidance, "count": COUNT, "profile": profile}
        tensors = cell(folder, config, partial(_measure, space, row))
        results.append({"space": space, "row": row, **tensors})
    return results


def _measure(space: Space, row: Row) -> dict[str, Tensor]:
    """Sample, invert, sample again; keep the pictures of the first sample and all errors."""
    solver = SAMPLERS[row.sampler](space.grid(row.steps))
    with torch.no_grad():
        image = sample(space.denoiser, space.noise, solver).image
        began = time.perf_counter()
        inversion = _invert(space, row, image, solver)
        seconds = time.perf_counter() - began
        again = sample(space.denoiser, inversion.noise, solver).image
        pictures = {
            "image": space.picture(image),
            "image_again": space.picture(again),
            "noise": space.noise_picture(space.noise),
            "noise_again": space.noise_picture(inversion.noise),
        }
    errors = {
        "noise_nmse": nmse(inversion.noise, space.noise),
        "state_nmse": nmse(again, image),
        "image_nmse": nmse(pictures["image_again"], pictures["image"]),
        "noise_picture_nmse": nmse(pictures["noise_again"], pictures["noise"]),
    }
    first = {name: picture[0].float() for name, picture in pictures.items()}
    return {**first, **errors, "nfe": inversion.nfe, "seconds": torch.tensor(seconds)}


def _invert(space: Space, row: Row, image: Tensor, solver: Solver) -> Inversion:
    if row.method == "naive":
        return naive(space.denoiser, image, solver, steps=row.inversion_steps)
    if row.method == "algorithm1":
        fine = ddim(space.grid(row.inversion_steps))
        return invert(space.denoiser, image, fine, method="algorithm1")
    return invert(space.denoiser, image, solver, method=row.method)


def summary(results: list[dict[str, Any]], profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/fig2.json``."""
    rows = []
    for r in results:
        values = {
            name: {"first": _db(r[name][0]), "median": _db(r[name].median())}
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
        "images": COUNT,
        "seeds": [*range(COUNT)],
        "device": device_name(),
        "rows": rows,
    }


def _db(ratio: Tensor) -> float:
    return round(decibel(ratio).item(), 2)
