"""Inverting a first-order sampler step by step: the paper's Algorithm 1, and ours."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..precision import step_tolerance
from ..rootfind import Finder, Root, anderson, forward_step_method
from ..solvers import Solver
from .naive import walk
from .starts import roundoff_where_noised
from .steps import StepProblem, solve_backwards

Start = Literal["naive", "extrapolated", "still"]


@torch.no_grad()
def algorithm1(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    finder: Finder = forward_step_method,
    tol: float | None = None,
    max_batch: int | None = None,
) -> Inversion:
    r"""Algorithm 1: backward Euler, each step solved from the naive start.

    .. math:: \text{find } x_i:\quad r(x_i) = a_i x_i + b_{ii}\,m(x_i, t_i) - x_{i+1} = 0

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a first-order solver (every step uses the newest output only).
        finder: root finder; the paper's forward step method by default.
        tol: relative residual at which a step is solved; by default the finder's own rule, which
            for the forward step method is the authors': an absolute sum of squares.
        max_batch: most states in one network call.

    Raises:
        ValueError: if a step uses older outputs.
    """
    return by_steps(denoiser, image, solver, finder, tol, "naive", "algorithm1", max_batch)


@torch.no_grad()
def stepwise(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    finder: Finder = anderson,
    tol: float | None = None,
    max_batch: int | None = None,
) -> Inversion:
    """Exact step-by-step inversion: Anderson from an extrapolated start, to round-off.

    The start of each step extrapolates, linearly in lambda, the noise predictions at the states
    that are already found, which costs no evaluation. Arguments as :func:`algorithm1`; ``tol`` is
    :func:`invlib.precision.step_tolerance` of the measured round-off by default.
    """
    evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
    precision, goal = None, cast(float | Tensor | None, tol)
    if tol is None:
        precision = roundoff_where_noised(evaluator, image, nodes=2)
        goal = step_tolerance(precision.outputs)
    found = by_steps(
        denoiser, image, solver, finder, goal, "extrapolated", "stepwise", evaluator.max_batch
    )
    return replace(found, nfe=found.nfe + evaluator.nfe, roundoff=precision)


def by_steps(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    finder: Finder,
    tol: float | Tensor | None,
    start: Start | Tensor,
    method: str,
    max_batch: int | None = None,
) -> Inversion:
    """Solve one step after the other, from the image on, with a root finder.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a first-order solver.
        finder: root finder.
        tol: relative residual at which a step is solved, one number or ``[B, N]``; None leaves it
            to the finder.
        start: where a step begins: at a naive step, with the noise of the steps before
            extrapolated, ``still`` at the state that it leads to, or at given states
            ``[N, B, ...]``.
        method: name of the method.
        max_batch: most states in one network call.
    """
    if not solver.order_one:
        raise ValueError(
            f"{solver.name} uses older network outputs, so it cannot be inverted step by step; "
            "use algorithm2 (approximate) or exact"
        )
    evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
    rows = torch.arange(len(image), device=image.device)
    noises: list[Tensor] = []

    def solve(i: int, target: Tensor) -> Root:
        step = StepProblem(evaluator, i, target)
        if isinstance(start, Tensor):
            begin = start[i]
        elif start == "still":
            begin = target
        elif start == "extrapolated" and noises:
            begin = step.solve_linear(_extrapolated(solver, i, noises))
        else:
            begin = walk(evaluator, target, i + 1, i, 1, rows)
        goal = tol[:, i] if isinstance(tol, Tensor) else tol
        told = finder if goal is None else partial(finder, tol=goal)
        root = told(step, begin, slope=step.slope)
        noises.append(step.noise(root.x))
        return root

    return solve_backwards(evaluator, image, solve, method)


@torch.no_grad()
def step_goal(denoiser: Denoiser, image: Tensor, solver: Solver) -> tuple[float, Tensor]:
    """The tolerance of a step as :func:`stepwise` takes it, the largest of all, and its cost."""
    evaluator, image = Evaluator.start(denoiser, image, solver)
    return step_tolerance(
        roundoff_where_noised(evaluator, image, nodes=2).outputs
    ).max().item(), evaluator.nfe


def solved_to(denoiser: Denoiser, image: Tensor, solver: Solver) -> float:
    """The tolerance of a step as :func:`stepwise` takes it, the largest of all."""
    return step_goal(denoiser, image, solver)[0]


def _extrapolated(solver: Solver, i: int, noises: list[Tensor]) -> Tensor:
    """The noise at node i, extrapolated linearly in lambda from nodes i+1 and i+2."""
    if len(noises) == 1 or solver.alpha[i] == 0:
        return noises[-1]
    log_snr = (solver.alpha / solver.sigma).log()
    ratio = (log_snr[i] - log_snr[i + 1]) / (log_snr[i + 1] - log_snr[i + 2])
    return noises[-1] + ratio.item() * (noises[-1] - noises[-2])
