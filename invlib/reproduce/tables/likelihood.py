"""Who made these latents? Prompts that differ in one word or two: ``results/likelihood.json``.

Held-out prompts of the embedded latent model, from the sampler's true final latent. The candidates
are the true prompt and seven that differ in one attribute each:
``python -m invlib.reproduce.tables likelihood``.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ... import likelihood
from ...likelihood import Quadrature
from ...markdown import table
from ...portraits import caption, held_out, portraits_denoiser
from ...portraits.render import (
    GARMENT_COLORS,
    GARMENTS,
    HAIR_COLORS,
    HAIR_STYLES,
    HILLS,
    MOODS,
    SKIES,
    Portrait,
)
from ...sampling import sample
from ..engine.table import SHARD, Rows, Table
from ..models.problem import Problem

CHANGED: dict[str, Collection[str]] = {
    "hair_color": HAIR_COLORS,
    "hair_style": HAIR_STYLES,
    "garment_color": GARMENT_COLORS,
    "garment": GARMENTS,
    "hills": HILLS,
    "sky": SKIES,
    "mood": MOODS,
}
RULE = Quadrature(vectors=2, tol=0.5)


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """Scores of the candidates, the true one first, of samples ``first`` ... of one cell."""
    problem = Problem.of(name, guidance, first, SHARD)
    with torch.no_grad():
        latents = sample(problem.denoiser, problem.noise, problem.solver).image
    people = held_out(first + SHARD)[first:]
    rows = [variants(person, first + k) for k, person in enumerate(people)]
    pairs = {}
    for k, attribute in enumerate(("", *CHANGED)):
        prompts = [row[k] for row in rows]
        pairs[attribute] = portraits_denoiser(problem.pipe, prompts, guidance), problem.solver
    found = likelihood(None, latents, pairs, determinant=RULE)
    leads = [[found.difference(0, k, row) for k in range(1, len(pairs))] for row in range(SHARD)]
    return {
        "log_p": found.log_p.T,
        "error": found.error.T,
        "lead": torch.tensor(leads, dtype=torch.float64)[:, :, 0],
        "lead_error": torch.tensor(leads, dtype=torch.float64)[:, :, 1],
        "norm": torch.stack([c.scores.norm for c in found.candidates], 1),
        "whiteness": torch.stack([c.scores.whiteness for c in found.candidates], 1),
        "naive": torch.stack([c.scores.naive for c in found.candidates], 1),
        "nfe": torch.stack([c.nfe for c in found.candidates], 1),
    }


def variants(person: Portrait, seed: int) -> list[str]:
    """The prompt of a portrait, and one for each attribute with another value, drawn at random."""
    draw = random.Random(seed)
    prompts = [caption(person)]
    for attribute, values in CHANGED.items():
        others = [value for value in values if value != getattr(person, attribute)]
        changed: dict[str, Any] = {attribute: draw.choice(others)}
        prompts.append(caption(replace(person, **changed)))
    return prompts


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """How often the true candidate, the first one, comes first."""
    norm = merged["norm"]
    scores = {
        "likelihood": merged["log_p"],
        "density_of_noise": -norm,
        "norm": -(norm - 1).abs(),
        "whiteness": -merged["whiteness"],
        "naive": -merged["naive"],
    }
    nearest = merged["lead"].argmin(1, keepdim=True)
    row = {
        "sampler": name,
        "guidance": guidance,
        "samples": len(norm),
        "candidates": norm.shape[1],
        **{f"top1_{n}": comes_first(s).double().mean().item() for n, s in scores.items()},
        "lead_median": merged["lead"].gather(1, nearest).median().item(),
        "lead_worst": merged["lead"].min().item(),
        "lead_error_median": merged["lead_error"].gather(1, nearest).median().item(),
        "error_median": merged["error"].median().item(),
        "probability_mean": merged["log_p"].softmax(1)[:, 0].mean().item(),
        "without_noise": int(merged["log_p"].isinf().sum()),
        "nfe_per_candidate": merged["nfe"].double().mean().item(),
    }
    return [row]


def comes_first(scores: Tensor, right: int = 0) -> Tensor:
    """Whether the right candidate has a larger score than all others, ``[B]``.

    Args:
        scores: of all candidates, ``[B, K]``; NaN is none, and the first of several equal ones is
            not found by its score.
        right: which candidate is the right one.
    """
    scores = scores.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    others = torch.cat([scores[:, :right], scores[:, right + 1 :]], 1)
    return scores[:, right] > others.amax(1)


TABLE = Table("likelihood", ("DDIM-20", "2M-10"), shard, summary, guidance=(1.0, 3.0), prompts=24)


def markdown(values: dict[str, Any]) -> str:
    """The table of the page; a cell that nobody filled says so."""
    head = ["sampler", "CFG", "images", "likelihood", "norm", "density of the noise", "whiteness"]
    head += ["naive inversion", "lead", "evaluations a candidate"]
    return table(head, TABLE.lines(values, shown, len(head) - 2))


def shown(row: dict[str, Any]) -> list[str]:
    """The cells of one sampler and scale."""
    scores = ("likelihood", "norm", "density_of_noise", "whiteness", "naive")
    lead = f"{row['lead_median']:.0f} +- {row['lead_error_median']:.1g} nats"
    shares = [f"{row[f'top1_{s}']:.0%}" for s in scores]
    return [str(row["samples"]), *shares, lead, f"{row['nfe_per_candidate']:.0f}"]
