"""Figure 3 of the paper: the error against the number of inversion steps."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....inversion import Inversion
from ....inverters import algorithm1, invert, naive
from ....metrics import decibel, nmse
from ....sampling import sample
from ....solvers import Solver, ddim
from ...engine.work import FOLDER, Cell, load_rows
from ...models import published
from ...models.full_size import few, short
from ...models.profiles import Space, device_name, spaces
from ..figure2 import cells as figure2
from ..figure2.cells import SAMPLERS

IMAGES = figure2.COUNT
SPACES = ("pixel", "latent")
HIGH_ORDER = "DPM-Solver++(2M)"
ERRORS = ("noise_nmse", "image_nmse", "state_nmse")


@dataclass(frozen=True)
class Run:
    """One point of the figure.

    Attributes:
        sampler: name of the sampler.
        steps: its steps.
        method: ``naive``, ``algorithm1``, ``tight`` (Algorithm 1 with a smaller tolerance),
            ``algorithm2`` or ``exact``.
        inversion_steps: steps of the inversion.
        count: number of images.
    """

    sampler: str
    steps: int
    method: str
    inversion_steps: int
    count: int = IMAGES


OWN = (  # the cells of Figure 2 are the other points
    *(Run("DDIM", 50, "naive", n) for n in (50, 100)),
    *(Run("DDIM", 50, "naive", n, 2) for n in (250, 500)),
    Run("DDIM", 50, "exact", 50, 2),
    *(Run(HIGH_ORDER, 10, "naive", n) for n in (10, 25, 50, 100)),
    *(Run(HIGH_ORDER, 10, "algorithm1", n, 2) for n in (10, 25)),
    Run(HIGH_ORDER, 10, "algorithm1", 100, 1),
)
PIXEL = (Run("DDIM", 50, "naive", 2000, 1), Run("DDIM", 50, "tight", 50, 1))
TIGHT = 1e-6  # the authors stop at 2.5e-4
_LEFT_OUT = (
    *(Run(HIGH_ORDER, 10, "naive", n, 0) for n in (2000, 4000)),
    Run("DDIM", 50, "naive", 4000, 0),
)
UNMEASURED = {  # runs of the authors that our budget leaves out
    "pixel": _LEFT_OUT,
    "latent": (*_LEFT_OUT, Run("DDIM", 50, "naive", 2000, 0)),
}


def runs(space: int) -> tuple[Run, ...]:
    """What is measured in a space on top of Figure 2."""
    return OWN + PIXEL if SPACES[space] == "pixel" else OWN


def cells(profile: str) -> list[Cell]:
    """The work of the figure; the runs that Figure 2 has are its cells, made once for both."""
    own = [
        Cell(
            "fig3",
            measure,
            {
                "space": number,
                **asdict(run),
                "count": few(profile, run.count),
                "profile": profile,
            },
        )
        for number in range(len(SPACES))
        for run in runs(number)
    ]
    return own + figure2.cells(profile)


def load(profile: str, folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The results of the figure.

    Args:
        profile: ``tiny`` or ``paper``.
        folder: where finished cells are stored.

    Returns:
        One dictionary per point: name of the ``space``, ``run``, the NMSE values of noise, image
        and final state, and ``nfe``, all ``[count]``. Ordered by the number of steps.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    work = cells(profile)
    points = [
        {"space": SPACES[cell.options["space"]], "run": _run(cell), **result}
        for cell, result in load_rows(work, work, folder)
    ]
    return sorted(points, key=lambda p: p["run"].inversion_steps)


def _run(cell: Cell) -> Run:
    """The point that a cell of this figure, or of Figure 2, is."""
    options = {k: v for k, v in cell.options.items() if k not in ("space", "profile")}
    return Run(**options)


@cache
def room(space: int, count: int, profile: str) -> Space:
    """One of the two models with ``count`` samples, loaded once a process."""
    return spaces(profile, count)[space]


def measure(
    space: int,
    sampler: str,
    steps: int,
    method: str,
    inversion_steps: int,
    count: int,
    profile: str,
) -> dict[str, Tensor]:
    """Sample, invert, sample again: errors of noise, image and final state, one an image."""
    here = room(space, count, profile)
    solver = SAMPLERS[sampler](here.grid(steps))
    with torch.no_grad():
        image = sample(here.denoiser, here.noise, solver).image
        began = time.process_time()
        inversion = inverted(here, image, solver, method, short(profile, inversion_steps))
        seconds = time.process_time() - began
        again = sample(here.denoiser, inversion.noise, solver).image
        image_nmse = nmse(here.picture(again), here.picture(image))
    return {
        "noise_nmse": nmse(inversion.noise, here.noise),
        "image_nmse": image_nmse,
        "state_nmse": nmse(again, image),
        "nfe": inversion.nfe,
        "seconds": torch.tensor(seconds / count),
    }


def inverted(space: Space, image: Tensor, solver: Solver, method: str, steps: int) -> Inversion:
    """Invert with about ``steps`` steps.

    The naive walk divides each step of the sampler into smaller ones, at times that need not be
    whole numbers. Algorithm 1 inverts a DDIM sampler of that many steps, as the authors do.
    """
    if method == "naive":
        own = steps == solver.steps
        return naive(space.denoiser, image, solver, steps=None if own else steps)
    if method == "tight":
        return algorithm1(space.denoiser, image, solver, tol=TIGHT)
    if method == "algorithm1":
        solver = ddim(space.grid(steps))
    return invert(space.denoiser, image, solver, method=published.METHODS.get(method, method))


def summary(points: list[dict[str, Any]], profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/fig3.json``: median, least and greatest error."""
    rows = []
    for point in points:
        row = {"space": point["space"], **asdict(point["run"])}
        for name in ERRORS:
            values = decibel(point[name])
            row[f"{name}_db"] = round(values.quantile(0.5).item(), 2)
            row[f"{name}_db_range"] = [round(v.item(), 2) for v in values.aminmax()]
        row["nfe_per_image"] = point["nfe"].double().mean().item()
        rows.append(row)
    missing = [
        {"space": space, **asdict(run)} for space, left in UNMEASURED.items() for run in left
    ]
    return {
        "figure": 3,
        "profile": profile,
        "images": few(profile, IMAGES),
        "seeds": [*range(few(profile, IMAGES))],
        "device": device_name(),
        "tight_tolerance": TIGHT,
        "spread": "least and greatest over the images",
        "rows": rows,
        "not measured": missing,
    }
