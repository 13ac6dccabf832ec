"""Null-text optimisation, a re-implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ..denoisers import Denoiser, Guided
from ..evaluator import Evaluator
from ..inverters.naive import naive
from ..rootfind import relative_size
from ..solvers import Solver
from .adam import Adam
from .null_prompts import NullInversion, as_guided
from .steps import all_rows, first_order


def null_text(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 10,
    rate: float = 0.01,
    stop: float = 1e-5,
) -> NullInversion:
    r"""Null-text optimisation: fit every step's empty prompt so that guidance keeps to a pivot.

    .. math:: \bar x_{i+1} = S_i(\bar x_i, \varnothing_i), \qquad
              \varnothing_i \approx \arg\min_{\varnothing}
              \tfrac1d \bigl\|S_i(\bar x_i, \varnothing) - x^*_{i+1}\bigr\|^2

    with :math:`S_i` the guided step and :math:`x^*` the pivot, naive inversion at guidance 1. A
    step begins with the embedding of the step before. ``residuals`` are the misses that are left,
    relative to the pivot; a sample ``converged`` if every step fell below its threshold.

    Args:
        denoiser: an :func:`invlib.guided` denoiser, differentiable in its empty prompt.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points.
        iterations: most Adam iterations a step, three evaluations each.
        rate: learning rate at the first step; it falls linearly to half of that.
        stop: mean square at which the first step is done; step i is at ``stop + 2e-5 i``.

    Raises:
        ValueError: if the denoiser is not guided, or its empty prompt is no embedding.

    Source: Mokady et al., CVPR 2023, section 3.2; defaults of the authors' code.
    """
    guided, solver = as_guided(denoiser), first_order(solver)
    if not guided.null.is_floating_point():
        raise ValueError(f"an empty prompt of {guided.null.dtype} cannot be optimised")
    pivot = naive(replace(guided, scale=1.0), image, solver)
    evaluator, image = Evaluator.start(guided, image, solver)
    rows, y = all_rows(image), pivot.states[0]
    null = guided.null.detach().expand_as(guided.condition).clone()
    used = torch.zeros(len(image), dtype=torch.long)
    solved = torch.ones(len(image), dtype=torch.bool)
    nulls, residuals = [], []
    for i in range(solver.steps):
        miss = partial(_miss, evaluator, i, y, pivot.states[i + 1])
        adam = Adam(null, rate * (1 - i / (2 * solver.steps)))
        active = rows
        for _ in range(iterations):
            r, pull_back = _vjp(evaluator, miss, null[active], active)
            gradient = pull_back(2 * r / r[0].numel())[0].detach()
            null[active] = adam.step(null[active], gradient, active)
            used[active.cpu()] += 1
            active = active[~(r.detach().square().flatten(1).mean(1) < stop + 2e-5 * i)]
            if not len(active):
                break
        solved[active.cpu()] = False
        left = miss(null, rows)
        y = pivot.states[i + 1] + left
        nulls.append(null.clone())
        residuals.append(relative_size(left, pivot.states[i + 1]).cpu())
    found = {
        "residuals": torch.stack(residuals, 1),
        "iterations": used,
        "nfe": pivot.nfe + evaluator.nfe,
        "reason": tuple("converged" if s else "budget" for s in solved.tolist()),
        "method": "null_text",
    }
    return NullInversion(**{**vars(pivot), **found}, nulls=torch.stack(nulls))


def _miss(
    evaluator: Evaluator, i: int, y: Tensor, target: Tensor, null: Tensor, rows: Tensor
) -> Tensor:
    """Where guided step i with these empty prompts ends, less where it should."""
    solver, guided = evaluator.solver, cast(Guided, evaluator.denoiser)
    evaluator.count(rows)
    denoiser = replace(guided.select(rows), null=null)
    here = all_rows(rows)
    m = solver.output(denoiser, y[rows], torch.full_like(here, i), here)
    return solver.a[i].item() * y[rows] + solver.b[i, i].item() * m - target[rows]


def _vjp(
    evaluator: Evaluator, miss: Callable[[Tensor, Tensor], Tensor], null: Tensor, rows: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
    """The miss and its reverse-mode derivative in the empty prompts."""
    with evaluator.derivative(3):
        return cast(Any, torch.func.vjp(lambda n: miss(n, rows), null))
