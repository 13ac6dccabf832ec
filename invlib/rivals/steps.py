"""What the rivals share: first-order steps one after the other, and the results that they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..inverters.steps import StepProblem, solve_backwards
from ..inverters.stepwise import step_goal
from ..rootfind import Root
from ..solvers import Solver

StepSolver = Callable[[StepProblem], Root]


def first_order(solver: Solver) -> Solver:
    r"""The first-order solver whose steps the published methods invert.

    .. math:: y_{i+1} = \frac{\sigma_{i+1}}{\sigma_i} y_i
              + \Bigl(\alpha_{i+1} - \frac{\sigma_{i+1}}{\sigma_i}\alpha_i\Bigr) D(y_i, t_i)

    A first-order solver is returned as it is. Of any other the time points are kept and its steps
    replaced by DDIM's (the Euler step, for flow matching): none of the rivals is defined for a
    step with a memory, so this is what their code does to an image of a higher-order sampler.

    Args:
        solver: any table.

    Returns:
        A table with a diagonal ``b [n, n]``.

    Raises:
        ValueError: if the noise level does not fall along the states.
    """
    if solver.order_one:
        return solver
    if (solver.sigma.diff() > 0).any():
        raise ValueError(f"{solver.name}: its noise level rises on the way, so DDIM cannot follow")
    a = solver.sigma[1:] / solver.sigma[:-1]
    b = torch.diag(solver.alpha[1:] - a * solver.alpha[:-1])
    levels = solver.t, solver.alpha, solver.sigma
    return Solver(f"DDIM on {solver.name}", a, b, *levels, "sample", solver.schedule, solver.scale)


def step_by_step(
    denoiser: Denoiser, image: Tensor, solver: Solver, solve: StepSolver, method: str
) -> Inversion:
    """Solve one first-order step after the other, from the image to the noise.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table; see :func:`first_order`.
        solve: finds the state before a step.
        method: name of the method.
    """
    solver = first_order(solver)
    evaluator, image = Evaluator.start(denoiser, image, solver)
    return solve_backwards(
        evaluator, image, lambda i, target: solve(StepProblem(evaluator, i, target)), method
    )


def to_tolerance(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    solve: Callable[[StepProblem, float], Root],
    method: str,
    tol: float | None,
) -> Inversion:
    """:func:`step_by_step` with a root finder that is told when a step is solved.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table; see :func:`first_order`.
        solve: finds the state before a step, to a relative residual.
        method: name of the method.
        tol: that residual; None measures the round-off of the network, which is counted.
    """
    goal, paid = step_goal(denoiser, image, solver) if tol is None else (tol, 0)
    found = step_by_step(denoiser, image, solver, lambda step: solve(step, goal), method)
    return replace(found, nfe=found.nfe + paid)


def naive_start(step: StepProblem) -> Tensor:
    r"""The naive step :math:`f(x_{i+1})`, at the price of one evaluation.

    .. math:: f(z) = z - r(z) / s

    with s the slope of r where the network's noise prediction stays what it is.
    """
    return step.target - step(step.target, all_rows(step.target)) / step.slope


def unchecked(x: Tensor, iterations: int, *, failed: Tensor | None = None) -> Root:
    """The root of a method that makes a fixed number of iterations and never looks at its residual.

    Args:
        x: where it ended, ``[B, ...]``.
        iterations: how many it made.
        failed: samples that are known to have failed, ``[B]``; by default those not finite.
    """
    if failed is None:
        failed = ~x.isfinite().flatten(1).all(1)
    return Root(
        x=x,
        residual=torch.full((len(x),), torch.nan, dtype=torch.float64),
        iterations=torch.full((len(x),), iterations),
        reason=tuple("diverged" if f else "budget" for f in failed.tolist()),
    )


def explicit(states: list[Tensor], evaluator: Evaluator, method: str) -> Inversion:
    """The result of a method that does not search; ``states`` begin with the image."""
    batch = len(states[0])
    return Inversion(
        noise=states[-1] / evaluator.solver.scale,
        states=torch.stack(states[::-1]),
        residuals=torch.full((batch, evaluator.solver.steps), torch.nan, dtype=torch.float64),
        iterations=torch.zeros(batch, dtype=torch.long),
        nfe=evaluator.nfe,
        reason=tuple(["explicit"] * batch),
        method=method,
    )


def all_rows(x: Tensor) -> Tensor:
    """The numbers of all samples, ``[B]``."""
    return torch.arange(len(x), device=x.device)
