"""How often inversion is exact on the embedded latent model: ``results/exactness.json``.

Held-out prompts, from the sampler's true final latent:
``python -m invlib.reproduce.tables exactness``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..certificate import certify
from ..denoisers import Denoiser
from ..inversion import Inversion, Inverter, invert
from ..inverters import algorithm1, exact, multisecant, naive, stepwise, whole_trajectory
from ..inverters.stepwise import solved_to
from ..metrics import decibel, nmse
from ..newton import newton_krylov
from ..rootfind import Root, anderson
from ..sampling import sample
from ..solvers import Solver, ddim
from .problem import SAMPLERS, Problem
from .table import GUIDANCE, SHARD, Rows, Table

EXACT_DB = -100.0


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """Invert samples ``first`` ... ``first + SHARD - 1`` of one cell of the table."""
    problem = Problem.of(name, guidance, first, SHARD)
    solver, denoiser, noise = problem.solver, problem.denoiser, problem.noise
    with torch.no_grad():
        image = sample(denoiser, noise, solver).image
        inversion = invert(denoiser, image, solver, method=method(solver, guidance))
        other = second_opinion(denoiser, image, solver, guidance)
    proof = certify(denoiser, inversion, solver, vectors=0, other=other)
    return {
        "round_trip": proof.round_trip,
        "noise_nmse": nmse(inversion.noise, noise),
        "nfe": inversion.nfe,
        "flagged": torch.tensor([bool(f) for f in proof.flags]),
        "other_root": proof.other_roots,
        "norm_score": proof.norm_score,
    }


def finish(steps: int) -> partial[Root]:
    """Newton's method with a budget of few steps: at high guidance it often stalls."""
    return partial(newton_krylov, max_iterations=30 // steps, patience=3)


def method(solver: Solver, guidance: float) -> Inverter:
    """The default; for 2M at high guidance the whole trajectory, finished by Newton's method.

    There the default searches on and on, and mostly in vain; see the chapter on the open front.
    """
    if solver.order_one:
        return stepwise
    if guidance <= 3:
        return exact
    return partial(whole_trajectory, finish=finish(solver.steps))


def second_opinion(denoiser: Denoiser, image: Tensor, solver: Solver, guidance: float) -> Inversion:
    """The same inversion from another start: for DDIM, each step from the naive one."""
    if solver.order_one:
        return algorithm1(
            denoiser, image, solver, finder=anderson, tol=solved_to(denoiser, image, solver)
        )
    start = naive(denoiser, image, solver, steps=10 * solver.steps).states
    if guidance <= 3:
        return multisecant(denoiser, image, solver, start=start)
    return whole_trajectory(denoiser, image, solver, start=start, finish=None)


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """One cell of the table."""
    found = decibel(merged["round_trip"]) < EXACT_DB
    noise = decibel(merged["noise_nmse"])
    other = found & (noise > -40)
    row = {
        "sampler": name,
        "guidance": guidance,
        "samples": len(found),
        "exact": found.double().mean().item(),
        "noise_db_median": noise.median().item(),
        "noise_db_worst": noise.max().item(),
        "round_trip_db_median": decibel(merged["round_trip"]).median().item(),
        "round_trip_db_worst": decibel(merged["round_trip"]).max().item(),
        "nfe_per_image": merged["nfe"].double().mean().item(),
        "nfe_per_step": merged["nfe"].double().mean().item() / SAMPLERS[name][1],
        "flagged": merged["flagged"].double().mean().item(),
        "exact_but_other_noise": other.double().mean().item(),
        "of_those_flagged": int((other & merged["flagged"]).sum()) if other.any() else None,
    }
    return [row]


def depends(name: str, guidance: float) -> dict[str, Any]:
    """What else a shard depends on: how 2M is searched."""
    make, steps = SAMPLERS[name]
    if make is ddim:
        return {}
    if guidance <= 3:
        return {"method": "exact"}
    return {"finish": str(finish(steps).keywords)}


TABLE = Table("exactness", tuple(SAMPLERS), shard, summary, depends=depends)


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands in the README; a cell that nobody filled says so."""
    known = {(r["sampler"], r["guidance"]): r for r in values["rows"]}
    lines = [
        "| sampler | CFG | images | certified exact | noise NMSE, median | evaluations an image |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in SAMPLERS:
        for scale in GUIDANCE:
            row = known.get((name, scale))
            cells = ["not measured"] * 4
            if row is not None:
                cells = [
                    str(row["samples"]),
                    f"{row['exact']:.0%}",
                    f"{row['noise_db_median']:.0f} dB",
                    f"{row['nfe_per_image']:.0f}",
                ]
            lines.append(f"| {name} | {scale:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
