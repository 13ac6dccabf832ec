"""One candidate: its noises, the determinants there, the sum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice

import torch

from ..certificate import certify
from ..inverters import Inverter, invert
from .problem import Problem
from .result import CandidateLikelihood, Determinant
from .roots import Estimate, log_weights, odds, runs_of, weighed
from .scores import scores


def evaluate(
    name: str, problem: Problem, method: str | Inverter, determinant: Estimate, *, trip: bool
) -> CandidateLikelihood:
    r"""The likelihood of a candidate for every sample of its problem.

    .. math:: \log p(x \mid c) = \log \sum_{z:\,S_c(z) = x}
              \frac{\mathcal N(z; 0, I)}{|\det S_c'(z)|}

    Args:
        name: what to call it.
        problem: its network, its sampler and the latents.
        method: how to look for noises; those that it keeps as ``others`` count, too.
        determinant: how to compute determinants.
        trip: whether to score the round trip of naive inversion.
    """
    given, most = (problem.denoiser, problem.image, problem.solver), problem.max_batch
    found = invert(*given, method=method, max_batch=most)
    proof = certify(problem.denoiser, found, problem.solver, max_batch=most)
    batch, nfe = len(problem.image), found.nfe.clone()
    log_p, error = (torch.full((batch,), v, dtype=torch.float64) for v in (-torch.inf, 0.0))
    noise = torch.full_like(problem.image, torch.nan).flatten(1)
    all_runs = [runs_of(problem, found, proof, index) for index in range(batch)]
    whose = [k for k, runs in enumerate(all_runs) for _ in runs]
    rows = torch.tensor(whose, dtype=torch.long, device=problem.image.device)
    known: Iterator[Determinant] = iter(())
    if len(rows):
        known = iter(determinant(problem, rows, torch.cat(list(chain(*all_runs)), 1)))
    all_roots = []
    for index, runs in enumerate(all_runs):
        roots = weighed(problem, index, runs, [*islice(known, len(runs))])
        all_roots.append(roots)
        nfe[index] += sum(root.determinant.nfe for root in roots)
        nfe[index] += problem.solver.steps * max(len(runs) - 1, 0)
        if roots:
            shares = zip(odds(roots).tolist(), roots, strict=True)
            log_p[index] = log_weights(roots).logsumexp(0)
            error[index] = math.hypot(*(share * root.determinant.error for share, root in shares))
            noise[index] = roots[0].noise
    cheap, cost = scores(problem, noise.view_as(problem.image), trip=trip)
    return CandidateLikelihood(
        name, log_p, error, tuple(all_roots), cheap, nfe + cost, found.reason
    )
