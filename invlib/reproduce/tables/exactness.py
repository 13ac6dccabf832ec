"""How often inversion is exact on the embedded latent model: ``results/exactness.json``.

Held-out prompts, from the sampler's true final latent:
``python -m invlib.reproduce.tables exactness``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...certificate import certify
from ...inverters import exact, invert
from ...markdown import table
from ...metrics import decibel, nmse
from ...sampling import sample
from ..engine.table import GUIDANCE, SHARD, Rows, Table
from ..models.problem import SAMPLERS, Problem, solver_named

EXACT_DB = -100.0  # what a row of a drawing calls exact
NAMES = (*SAMPLERS, "3M-20", "UniPC-10")
OTHERS = 2  # searches from other starts, to see whether another noise makes the same image


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """Invert samples ``first`` ... ``first + SHARD - 1`` of one cell of the table."""
    problem = Problem.of(name, guidance, first, SHARD)
    solver, denoiser, noise = problem.solver, problem.denoiser, problem.noise
    with torch.no_grad():
        image = sample(denoiser, noise, solver).image
        found = invert(denoiser, image, solver, method=partial(exact, others=OTHERS))
    proof = certify(denoiser, found, solver)
    assert found.nfe_others is not None
    return {
        "round_trip": proof.round_trip,
        "exact": torch.tensor([verdict == "exact" for verdict in proof.verdict]),
        "noise_nmse": nmse(found.noise, noise),
        "nfe": found.nfe - found.nfe_others,
        "nfe_others": found.nfe_others,
        "noise_error": proof.noise_error,
        "flagged": torch.tensor([bool(f) for f in proof.flags]),
        "other_root": proof.other_roots,
        "norm_score": proof.norm_score,
    }


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """One cell of the table."""
    found = merged["exact"]
    claimed = merged["noise_error"].isfinite()
    wrong = claimed & (merged["noise_nmse"] > (2 * merged["noise_error"]) ** 2)
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
        "nfe_per_step": merged["nfe"].double().mean().item() / solver_named(name).steps,
        "nfe_others_per_image": merged["nfe_others"].double().mean().item(),
        "bounds": claimed.double().mean().item(),
        "bounds_off_by_6_db": int(wrong.sum()),
        "flagged": merged["flagged"].double().mean().item(),
        "exact_but_other_noise": other.double().mean().item(),
        "of_those_flagged": int((other & merged["flagged"]).sum()) if other.any() else None,
    }
    return [row]


TABLE = Table("exactness", NAMES, shard, summary)


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands in the README; a cell that nobody filled says so."""
    known = {(r["sampler"], r["guidance"]): r for r in values["rows"]}
    names = ("images", "certified exact", "noise NMSE, median", "evaluations an image")
    lines = []
    for name in NAMES:
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
            lines.append([name, f"{scale:g}", *cells])
    return table(["sampler", "CFG", *names], lines)
