"""How often inversion is exact on the embedded latent model: ``results/exactness.json``.

Held-out prompts, from the sampler's true final latent:
``python -m invlib.reproduce.exactness``. Interrupted, it resumes.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor
from tqdm import tqdm

from ..certificate import certify
from ..denoisers import Denoiser
from ..inversion import Inversion, Inverter, floor, invert
from ..inverters import algorithm1, naive, stepwise, whole_trajectory
from ..metrics import decibel, nmse
from ..newton import newton_krylov
from ..portraits import caption, held_out, load, portraits_denoiser
from ..portraits.load import verify
from ..portraits.quality import noise_for
from ..rootfind import Root, anderson
from ..sampling import sample
from ..schedule import Schedule
from ..solvers import Solver, ddim, dpm_solver_pp_2m
from .profiles import device_name
from .store import cell, stored, write_json

SAMPLERS = {"DDIM-50": (ddim, 50), "DDIM-20": (ddim, 20)} | {
    f"2M-{n}": (dpm_solver_pp_2m, n) for n in (10, 20)
}
GUIDANCE = (1.0, 3.0, 7.5)
SHARD = 8
EXACT_DB = -100.0
CACHE = Path(".cache/exactness")


def solver_named(name: str) -> Solver:
    """One of the samplers of the table, on the embedded model's schedule."""
    make, steps = SAMPLERS[name]
    return make(Schedule.scaled_linear().grid(steps))


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """Invert samples ``first`` ... ``first + SHARD - 1`` of one cell of the table."""
    pipe, solver = load("portraits"), solver_named(name)
    prompts = [caption(p) for p in held_out(first + SHARD)[first:]]
    denoiser = portraits_denoiser(pipe, prompts, guidance)
    noise = noise_for(SHARD, seed=first)
    with torch.no_grad():
        image = sample(denoiser, noise, solver).image
        began = time.perf_counter()
        inversion = invert(denoiser, image, solver, method=method(solver, guidance))
        seconds = time.perf_counter() - began
        other = second_opinion(denoiser, image, solver)
    proof = certify(denoiser, inversion, solver, vectors=0, other=other)
    return {
        "round_trip": proof.round_trip,
        "noise_nmse": nmse(inversion.noise, noise),
        "nfe": inversion.nfe,
        "flagged": torch.tensor([bool(f) for f in proof.flags]),
        "other_root": proof.other_roots,
        "norm_score": proof.norm_score,
        "seconds": torch.tensor([seconds / SHARD] * SHARD),
    }


def finish(steps: int, guidance: float) -> partial[Root]:
    """Newton's method with a budget: 20 steps, but few where it often stalls."""
    budget = 20 if guidance <= 3 else 30 // steps
    return partial(newton_krylov, max_iterations=budget, patience=3)


def method(solver: Solver, guidance: float) -> Inverter:
    """Step by step for DDIM; else the whole trajectory, finished by Newton's method."""
    if solver.order_one:
        return stepwise
    return partial(whole_trajectory, finish=finish(solver.steps, guidance))


def second_opinion(denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
    """The same inversion from another start: for DDIM, each step from the naive one."""
    if solver.order_one:
        return algorithm1(denoiser, image, solver, finder=anderson, tol=floor(denoiser) / 5)
    start = naive(denoiser, image, solver, steps=10 * solver.steps).states
    return whole_trajectory(denoiser, image, solver, start=start, finish=None)


def main(
    prompts: Annotated[int, typer.Option(help="number of held-out prompts, in eights")] = 32,
    only: Annotated[list[str] | None, typer.Option(help="samplers, default all")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="scales, default all")] = None,
    report: Annotated[bool, typer.Option(help="only report what is stored")] = False,
    output: Annotated[Path, typer.Option()] = Path("results/exactness.json"),
) -> None:
    """Fill the table, cell by cell."""
    work = [
        (name, scale, first)
        for first in range(0, prompts, SHARD)
        for scale in guidance or GUIDANCE
        for name in only or SAMPLERS
    ]
    parts: dict[tuple[str, float], list[dict[str, Tensor]]] = {}
    for name, scale, first in tqdm(work, desc="exactness", unit="shard"):
        config = {"table": "exactness", "sampler": name, "guidance": scale, "first": first}
        config |= {"model": verify("portraits"), "shard": SHARD}
        if name.startswith("2M"):
            config |= {"finish": str(finish(SAMPLERS[name][1], scale).keywords)}
        if report and stored(CACHE, config) is None:
            continue
        result = cell(CACHE, config, partial(shard, name, scale, first))
        parts.setdefault((name, scale), []).append(result)
    rows = [summary(*key, results) for key, results in parts.items()]
    values = {"table": "exactness", "prompts": prompts, "device": device_name(), "rows": rows}
    write_json(output, values)
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3g}"))


def summary(name: str, guidance: float, results: list[dict[str, Tensor]]) -> dict[str, Any]:
    """One cell of the table from its shards."""
    merged = {k: torch.cat([r[k] for r in results]) for k in results[0]}
    exact = decibel(merged["round_trip"]) < EXACT_DB
    noise = decibel(merged["noise_nmse"])
    other = exact & (noise > -40)
    return {
        "sampler": name,
        "guidance": guidance,
        "samples": len(exact),
        "exact": exact.double().mean().item(),
        "noise_db_median": noise.median().item(),
        "noise_db_worst": noise.max().item(),
        "round_trip_db_median": decibel(merged["round_trip"]).median().item(),
        "round_trip_db_worst": decibel(merged["round_trip"]).max().item(),
        "nfe_per_image": merged["nfe"].double().mean().item(),
        "nfe_per_step": merged["nfe"].double().mean().item() / SAMPLERS[name][1],
        "flagged": merged["flagged"].double().mean().item(),
        "exact_but_other_noise": other.double().mean().item(),
        "of_those_flagged": int((other & merged["flagged"]).sum()) if other.any() else None,
        "seconds_per_image": merged["seconds"].mean().item(),
    }


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


if __name__ == "__main__":
    typer.run(main)
