"""Samplers with an algebraic inverse beside ours: ``results/reversible.json``.

Held-out prompts, the embedded latent model: ``python -m invlib.reproduce.tables reversible``.
What our inverse does at DDIM-20, DDIM-50, 2M-10 and 2M-20 is measured in
``results/exactness.json``; here only the quality of their pictures is, and DDIM-10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...denoisers import Guided
from ...inverters import invert
from ...markdown import table
from ...metrics import decibel, nmse
from ...pipelines import decode
from ...portraits import caption, held_out, portraits_denoiser
from ...portraits.quality import noise_for
from ...reversible import (
    Pair,
    Reversible,
    bdia,
    edict,
    growth,
    invert_reversible,
    least_growth,
    o_belm,
    sample_reversible,
)
from ...sampling import sample
from ...schedule import Grid, Schedule
from ...solvers import Solver, ddim, dpm_solver_pp_2m
from ..engine.table import GUIDANCE, SHARD, Rows, Table
from .likeness import data_features, distance, features, obeyed, pipeline, reconstructed

REVERSIBLE: dict[str, Callable[[Grid], Reversible]] = {
    "EDICT": edict,
    "BDIA, γ 1": bdia,
    "BDIA, γ 0.5": partial(bdia, gamma=0.5),
    "O-BELM": o_belm,
}
SOLVERS: dict[str, Callable[[Grid], Solver]] = {"DDIM": ddim, "2M": dpm_solver_pp_2m}
DRAWN = "drawings"  # no sampler: what the autoencoder shows of the data
PICTURES = {10: 32, 20: 16, 50: 2}  # sampled, for every eight prompts asked for
INVERTED = {10: 8, 20: 4, 50: 2}  # of them inverted
PROBED = 2  # of them disturbed
SIZE = 1e-5  # of the disturbance; a float32 network's own round-off is 1e-7
FEWEST = 16  # pictures whose quality is told
SAMPLERS = (DRAWN, *(f"{k}-{n}" for n in PICTURES for k in (*REVERSIBLE, *SOLVERS)))
Measured = dict[str, Tensor]


def shard(name: str, guidance: float, first: int) -> Measured:
    """All values of one cell; nothing where one-state samplers would make few pictures."""
    family, steps = parsed(name)
    count = PICTURES[steps]
    people = held_out((first // SHARD + 1) * count)[-count:]
    if family == DRAWN:
        return quality(reconstructed(people), people)
    if family in SOLVERS and count < FEWEST:
        return {}
    pipe, grid = pipeline("portraits"), grid_of(steps)
    denoiser = portraits_denoiser(pipe, [caption(p) for p in people], guidance)
    noise = noise_for(count, seed=first // SHARD * count)
    with torch.no_grad():
        if family in SOLVERS:
            latents = sample(denoiser, noise, SOLVERS[family](grid)).image
            measured = ours(denoiser, noise, SOLVERS[family](grid)) if name == "DDIM-10" else {}
        else:
            sampler = REVERSIBLE[family](grid)
            measured = theirs(denoiser, noise, sampler)
            if count < FEWEST:
                return measured
            latents = sample_reversible(denoiser, noise, sampler).image
        return measured | quality(decode(pipe, latents), people)


def theirs(denoiser: Guided, noise: Tensor, sampler: Reversible) -> Measured:
    """What the algebra gives back, from the pair at the image and from the image alone.

    Images are made in the batch that is inverted: in another one a float32 network rounds
    otherwise, and the algebra enlarges the difference.
    """
    rows = torch.arange(INVERTED[sampler.grid.steps])
    denoiser = denoiser.select(rows)
    run = sample_reversible(denoiser, noise[rows], sampler)
    start, end = run.start, run.end
    back = invert_reversible(denoiser, end, sampler)
    alone = invert_reversible(denoiser, end.state, sampler)
    few, known = of(end, rows[:PROBED]), of(back.start, rows[:PROBED])

    def undo(pair: Pair) -> Pair:
        if pair is few:
            return known
        return invert_reversible(denoiser.select(rows[:PROBED]), pair, sampler).start

    return {
        "noise_pair": error(back.noise, start.state),
        "noise_image": error(alone.noise, start.state),
        "image_pair": again(denoiser, alone.start, sampler, end.state),
        "image_noise": again(denoiser, alone.noise, sampler, end.state),
        "nfe_sampling": run.nfe.double(),
        "nfe_inverting": back.nfe.double(),
        "growth": growth(undo, few, size=SIZE),
    }


def ours(denoiser: Guided, noise: Tensor, solver: Solver) -> Measured:
    """What the exact inverse of a one-state sampler gives back."""
    rows = torch.arange(INVERTED[solver.steps])
    denoiser, noise = denoiser.select(rows), noise[rows]
    image = sample(denoiser, noise, solver).image
    found = invert(denoiser, image, solver)
    return {
        "noise_image": error(found.noise, noise),
        "image_noise": error(sample(denoiser, found.noise, solver).image, image),
        "nfe_sampling": torch.full((len(rows),), float(solver.steps)),
        "nfe_inverting": found.nfe.double(),
    }


def quality(pictures: Tensor, people: list[Any]) -> Measured:
    """What is needed to judge the pictures."""
    return {"obeyed": obeyed(pictures, people), "features": features(pictures)}


def again(denoiser: Guided, start: Tensor | Pair, sampler: Reversible, image: Tensor) -> Tensor:
    """Error of the image that a recovered start gives; infinite if it outgrew the numbers."""
    state = start.state if isinstance(start, Pair) else start
    if not torch.isfinite(state).all():
        return torch.full((len(image),), torch.inf, dtype=torch.float64)
    return error(sample_reversible(denoiser, start, sampler).image, image)


def error(found: Tensor, truth: Tensor) -> Tensor:
    """NMSE, infinite where the numbers were outgrown."""
    return nmse(found, truth).nan_to_num(nan=torch.inf, posinf=torch.inf)


def of(pair: Pair, rows: Tensor) -> Pair:
    """Some samples of a pair."""
    return Pair(pair.state[rows], pair.companion[rows])


def grid_of(steps: int) -> Grid:
    """Time points of all samplers."""
    return Schedule.scaled_linear().grid(steps)


def parsed(name: str) -> tuple[str, int]:
    """Family and number of steps; drawings have as many pictures as the shortest samplers."""
    family, _, steps = name.rpartition("-")
    return (family, int(steps)) if family else (name, min(PICTURES))


def summary(name: str, guidance: float, merged: Measured) -> Rows:
    """One cell of the table: medians over the images in dB, means of costs and quality."""
    family, steps = parsed(name)
    row: dict[str, Any] = {"sampler": name, "guidance": guidance}
    row["samples"] = len(merged.get("noise_image", ()))
    for key in ("noise_pair", "noise_image", "image_pair", "image_noise"):
        if key in merged:
            row[f"{key}_db"] = decibel(merged[key]).quantile(0.5).item()
    if "noise_image" in merged:
        row["nfe_sampling"] = merged["nfe_sampling"].mean().item()
        row["nfe_inverting"] = merged["nfe_inverting"].mean().item()
    if family in REVERSIBLE:
        row["growth"] = merged["growth"].log().mean().exp().item()
        row["least_growth"] = least_growth(REVERSIBLE[family](grid_of(steps)))
    row["pictures"] = len(merged.get("obeyed", ()))
    if row["pictures"] >= FEWEST:
        row["obeyed"] = merged["obeyed"].mean().item()
        row["distance"] = distance(merged["features"], data_features())
    return [row]


def depends(name: str, guidance: float) -> dict[str, Any]:
    """What else a shard depends on: the counts, the size of the disturbance."""
    steps = parsed(name)[1]
    return {"counts": [PICTURES[steps], INVERTED[steps], PROBED], "size": SIZE}


TABLE = Table("reversible", SAMPLERS, shard, summary, depends, prompts=SHARD)
HEAD = (
    *("sampler", "N", "images", "noise, from the pair", "noise, from the image"),
    *("image, from that pair", "image, from that noise alone"),
    *("NFE, sampling", "NFE, inverting", "error growth (at least)"),
)
MISSING, NOTHING = "not measured", "–"  # nobody did; there is nothing to measure


def markdown(values: dict[str, Any], exact: dict[str, Any]) -> str:
    """The round trips as they stand on the page, one part a guidance scale."""
    rows = {(r["sampler"], r["guidance"]): r for r in values["rows"]}
    for r in exact["rows"]:  # how our inverse does is measured there
        if (at := (r["sampler"], r["guidance"])) in rows and not rows[at]["samples"]:
            rows[at] = {
                "samples": r["samples"],
                "noise_image_db": r["noise_db_median"],
                "image_noise_db": r["round_trip_db_median"],
                "nfe_sampling": float(parsed(r["sampler"])[1]),
                "nfe_inverting": r["nfe_per_image"],
            }
    parts = []
    for scale in GUIDANCE:
        lines = [_cells(name, rows.get((name, scale), {})) for name in SAMPLERS if name != DRAWN]
        parts.append(f"**CFG {scale:g}**\n\n{table(HEAD, lines)}")
    return "\n\n".join(parts)


def markdown_quality(values: dict[str, Any]) -> str:
    """The quality of the pictures as it stands on the page."""
    rows = {(r["sampler"], r["guidance"]): r for r in values["rows"]}
    kinds = {"colours as asked": ("obeyed", "{:.0%}"), "distance": ("distance", "{:.3f}")}
    head = ("sampler", "N", "pictures", *(f"{k}, CFG {w:g}" for k in kinds for w in GUIDANCE))
    lines = []
    for name in SAMPLERS:
        family, steps = parsed(name)
        here = [rows.get((name, scale), {}) for scale in GUIDANCE]
        count = here[0].get("pictures", 0)
        cells = [family, NOTHING if family == DRAWN else str(steps)]
        cells.append(str(count) if count >= FEWEST else MISSING)
        cells += [_cell(row, *kind) for kind in kinds.values() for row in here]
        lines.append(cells)
    return table(head, lines)


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    family, steps = parsed(name)
    paired = MISSING if family in REVERSIBLE else NOTHING
    grown = _cell(row, "growth", "{:.2g}", paired)
    return [
        family,
        str(steps),
        str(row["samples"]) if row.get("samples") else MISSING,
        _cell(row, "noise_pair_db", "{:.0f} dB", paired),
        _cell(row, "noise_image_db", "{:.0f} dB"),
        _cell(row, "image_pair_db", "{:.0f} dB", paired),
        _cell(row, "image_noise_db", "{:.0f} dB"),
        _cell(row, "nfe_sampling", "{:.0f}"),
        _cell(row, "nfe_inverting", "{:.0f}"),
        f"{grown} ({row['least_growth']:.2g})" if "least_growth" in row else grown,
    ]


def _cell(row: dict[str, Any], key: str, form: str, absent: str = MISSING) -> str:
    return form.format(row[key]) if key in row else absent
