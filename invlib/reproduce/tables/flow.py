"""Inversions of flow matching on the embedded latent model: ``results/flow.json``.

Its network is a velocity field on the straight path, too (:class:`invlib.flow.Straight`).
Held-out prompts: ``python -m invlib.reproduce.tables flow``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...denoisers import Denoiser
from ...evaluator import Evaluator
from ...flow import (
    FLOW_RIVALS,
    FLOW_SAMPLERS,
    Straight,
    flow_euler,
    flow_fireflow,
    flow_midpoint,
    from_vp_noise,
    straight_grid,
)
from ...inverters import Inverter, exact, invert
from ...inverters.starts import roundoff_where_noised
from ...markdown import table
from ...metrics import decibel, nmse
from ...portraits import caption, held_out, portraits_denoiser
from ...portraits.quality import noise_for
from ...sampling import sample
from ...schedule import Grid, Schedule
from ...solvers import Solver
from ..engine.table import SHARD, Rows, Table
from .likeness import pipeline

MAKES: dict[str, Callable[[Grid], Solver]] = {
    "Euler": flow_euler,
    "midpoint": flow_midpoint,
    "FireFlow": flow_fireflow,
}
STEPS = (10, 28)
GUIDANCE = (1.0, 3.5, 7.5)
SAMPLERS = tuple(f"{name}-{n}" for name in MAKES for n in STEPS)
IMAGES = 4  # of every eight prompts asked for
Measured = dict[str, Tensor]


def shard(name: str, guidance: float, first: int) -> Measured:
    """All inversions of the images of one cell, exact where they miss it by round-off only."""
    denoiser, solver, noise = problem(name, guidance, first)
    with torch.no_grad():
        image = sample(denoiser, noise, solver).image
        limit = roundoff_where_noised(*Evaluator.start(denoiser, image, solver)).limit
    result: Measured = {}
    for label, method in methods(name).items():
        values = measure(denoiser, solver, noise, image, limit, method)
        result |= {f"{label}/{key}": value for key, value in values.items()}
    return result


def problem(name: str, guidance: float, first: int) -> tuple[Straight, Solver, Tensor]:
    """The velocity field for some held-out prompts, a sampler, and the noise."""
    family, _, steps = name.partition("-")
    schedule = Schedule.scaled_linear()
    prompts = [caption(p) for p in held_out(first + IMAGES)[first:]]
    denoiser = portraits_denoiser(pipeline("portraits"), prompts, guidance)
    solver = from_vp_noise(MAKES[family](straight_grid(schedule, int(steps))))
    return Straight(denoiser, schedule), solver, noise_for(IMAGES, seed=first)


def methods(name: str) -> dict[str, Inverter]:
    """Ours, and the rivals: on Euler's images all of them, else those whose sampler it is."""
    make = MAKES[name.partition("-")[0]]
    found: dict[str, Inverter] = {"exact": exact}
    for label, rival in FLOW_RIVALS.items():
        if make in (flow_euler, FLOW_SAMPLERS[label]):
            found[label] = rival
    return found


def measure(
    denoiser: Denoiser,
    solver: Solver,
    noise: Tensor,
    image: Tensor,
    limit: Tensor,
    method: Inverter,
) -> Measured:
    """Errors and costs of one inversion, one number an image; seconds of all threads together.

    What misses the image by no more than ``limit``, an NMSE, is exact.
    """
    began = time.process_time()
    found = invert(denoiser, image, solver, method=method)
    seconds = time.process_time() - began
    with torch.no_grad():
        again = sample(denoiser, found.noise, solver).image
    return {
        "noise": nmse(found.noise, noise),
        "image": (missed := nmse(again, image)),
        "exact": (missed <= limit).double(),
        "nfe": found.nfe.double(),
        "seconds": torch.full((len(image),), seconds / len(image), dtype=torch.float64),
    }


def summary(name: str, guidance: float, merged: Measured) -> Rows:
    """The rows of one cell, one a method: medians over the images in dB, means of costs."""
    rows = []
    for label in dict.fromkeys(key.rpartition("/")[0] for key in merged):
        noise, image, within, nfe, seconds = (
            merged[f"{label}/{key}"] for key in ("noise", "image", "exact", "nfe", "seconds")
        )
        rows.append(
            {
                "sampler": name,
                "guidance": guidance,
                "method": label,
                "samples": len(noise),
                "exact": within.mean().item(),
                "noise_db": decibel(noise).quantile(0.5).item(),
                "image_db": decibel(image).quantile(0.5).item(),
                "nfe": nfe.mean().item(),
                "seconds": seconds.mean().item(),
            }
        )
    return rows


def depends(name: str, guidance: float) -> dict[str, Any]:
    """What else a shard depends on: the count, the methods."""
    return {"images": IMAGES, "methods": [*methods(name)]}


TABLE = Table("flow", SAMPLERS, shard, summary, depends, GUIDANCE, SHARD)
HEAD = ("sampler", "images", "inverse", "exact", "noise", "image", "evaluations", "seconds")


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on the page, one part a guidance scale."""
    known = {(r["sampler"], r["guidance"], r["method"]): r for r in values["rows"]}
    parts = []
    for scale in GUIDANCE:
        lines = [
            _cells(name, label, known.get((name, scale, label)))
            for name in SAMPLERS
            for label in dict.fromkeys(["exact", *methods(name)])
        ]
        parts.append(f"**CFG {scale:g}**\n\n{table(HEAD, lines)}")
    return "\n\n".join(parts)


def _cells(name: str, label: str, row: dict[str, Any] | None) -> list[str]:
    shown = "**exact (ours)**" if label == "exact" else f"`{label}`"
    if row is None:
        return [name, "not measured", shown] + ["not measured"] * 5
    return [
        name,
        str(row["samples"]),
        shown,
        f"{row['exact']:.0%}",
        f"{row['noise_db']:.0f} dB",
        f"{row['image_db']:.0f} dB",
        f"{row['nfe']:.0f}",
        f"{row['seconds']:.2f}",
    ]
