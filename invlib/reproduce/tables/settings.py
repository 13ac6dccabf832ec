"""Which scheduler, which guidance scale made these latents: ``results/settings.json``.

Held-out prompts of the embedded latent model, from the true final latent of each of six samplers
of ten steps; the exact likelihood compares the six, and five guidance scales of the right one:
``python -m invlib.reproduce.tables settings``. The search for a noise is bounded as
:func:`invlib.identify` bounds it, and a candidate without one cannot come first. A choice counts
where its probability, averaged over the errors of the determinants, is at least ``SURE``. The first
look at guidance scales is in :mod:`.who`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ... import likelihood
from ...identification.search import bounded
from ...likelihood import Likelihoods, Quadrature
from ...markdown import table
from ...portraits import portraits_denoiser
from ...probing import from_scheduler
from ...sampling import sample
from ...solvers import Solver
from ..engine.table import SHARD, Rows, Table
from ..models.problem import Problem
from .likelihood import comes_first
from .who import BINS, share

STEPS = 10
SIX: dict[str, tuple[str, Mapping[str, Any]]] = {  # diffusers' class and its options
    "DDIM": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "2M": ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}),
    "3M": ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min", "solver_order": 3}),
    "UniPC": ("UniPCMultistepScheduler", {"final_sigmas_type": "sigma_min"}),
    "DEIS": ("DEISMultistepScheduler", {}),
}
RULE = Quadrature(vectors=2, tol=2.0)
SURE = 0.9  # the probability of a choice that counts
SCORES = ("norm", "naive")  # of them the largest counts


def sampler(name: str) -> Solver:
    """One of the six, with the noise levels of the latent model and its own time points."""
    import diffusers

    kind, options = SIX[name]
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return from_scheduler(getattr(diffusers, kind)(**betas, **options), STEPS)


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """Scores of the six samplers and of the guidance scales, ``[SHARD, candidates, SCORES]``."""
    problem = Problem.of("2M-10", guidance, first, SHARD)
    solver = sampler(name)
    with torch.no_grad():
        latents = sample(problem.denoiser, problem.noise * solver.scale, solver).image
    scales = {
        str(w): (portraits_denoiser(problem.pipe, list(problem.prompts), w), solver) for w in BINS
    }
    samplers = {other: (problem.denoiser, sampler(other)) for other in SIX}
    result = {}
    for part, candidates in (("sampler", samplers), ("guidance", scales)):
        found = likelihood(None, latents, candidates, determinant=RULE, method=bounded)
        result[part] = scores(found)
        result[f"{part}/probability"] = found.posterior.T
        result[f"{part}/nfe"] = torch.stack([c.nfe for c in found.candidates], 1)
    return result


def scores(found: Likelihoods) -> Tensor:
    """What every candidate scores without its likelihood, ``[B, candidates, SCORES]``."""
    cheap = [candidate.scores for candidate in found.candidates]
    norm = torch.stack([-(one.norm - 1).abs() for one in cheap], 1)
    naive = torch.stack([-one.naive for one in cheap], 1)
    return torch.stack([norm, naive], 2)


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """How often the right sampler and the right guidance scale come first."""
    right = {"sampler": list(SIX).index(name), "guidance": BINS.index(guidance)}
    row: dict[str, Any] = {"sampler": name, "guidance": guidance}
    for part, place in right.items():
        told, probability = merged[part], merged[f"{part}/probability"].nan_to_num(0.0)
        row["pictures"] = len(told)
        sure = probability.amax(1) >= SURE
        first = probability.argmax(1) == place
        row[f"{part}_right"], row[f"{part}_wrong"] = share(sure & first), share(sure & ~first)
        for k, score in enumerate(SCORES):
            row[f"{part}_by_{score}"] = share(comes_first(told[:, :, k], place))
        row[f"{part}_probability"] = probability.mean(0).tolist()
        row[f"{part}_nfe"] = merged[f"{part}/nfe"].double().mean().item()
    return [row]


TABLE = Table("settings", tuple(SIX), shard, summary, guidance=(1.0, 3.0), prompts=8)


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on the page; a cell that nobody filled says so."""
    head = ["made by", "CFG", "pictures", "sampler of 6: right, wrong", "right by the norm"]
    head += ["by naive inversion", "guidance of 5: right, wrong", "right by the norm"]
    head += ["by naive inversion", "evaluations a candidate"]
    lines = TABLE.lines(values, shown, len(head) - 2)
    return table(head, [[f"{name}-{STEPS}", *cells] for name, *cells in lines])


def shown(row: dict[str, Any]) -> list[str]:
    """The cells of one sampler and scale."""
    cells = []
    for part in ("sampler", "guidance"):
        cells.append(f"{row[f'{part}_right']:.0%}, {row[f'{part}_wrong']:.0%}")
        cells += [f"{row[f'{part}_by_{score}']:.0%}" for score in SCORES]
    evaluations = row["sampler_nfe"] * len(SIX) + row["guidance_nfe"] * len(BINS)
    nfe = evaluations / (len(SIX) + len(BINS))
    return [str(row["pictures"]), *cells, f"{nfe:.0f}"]
