"""The paper's Algorithm 2: high-order steps with the history frozen at a rough estimate."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..rootfind import Finder, Root, forward_step_method
from ..solvers import Solver
from .naive import time_of, walk
from .steps import StepProblem, solve_backwards


@torch.no_grad()
def algorithm2(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    finder: Finder | None = None,
    tol: float | None = None,
    fine: float = 10.0,
    max_batch: int | None = None,
) -> Inversion:
    r"""Algorithm 2: approximate inversion of DPM-Solver++(2M) and other multistep solvers.

    A fine naive walk from x_{i+1} gives rough states y_i, y_{i-1}, ...; their outputs fix the
    high-order term once, and backward Euler solves

    .. math:: a_i x_i + w_i\,m(x_i) + \sum_{j<i} b_{ij} m(y_j) + (b_{ii} - w_i)\,m(y_i)
              = x_{i+1}, \qquad w_i = \sum_j b_{ij}.

    Unlike the authors' code it uses the sampler's own time points (theirs are off by one
    training step once a trajectory) and the sampler's own order at the last step.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a multistep solver, in the prediction in which its table is banded.
        finder: root finder; by default the forward step method with the authors' step sizes:
            1 at the image, then 10/t.
        tol: relative residual at which a step counts as solved; by default the finder's own rule,
            which for the forward step method is the authors': an absolute sum of squares. A
            smaller one seldom helps: it solves an equation better whose frozen term is wrong.
        fine: length of a fine step, in thousandths of the schedule (10 training steps of 1000).
        max_batch: most states in one network call.
    """
    if (torch.log(solver.alpha / solver.sigma).diff() <= 0).any():
        raise ValueError(
            f"{solver.name} has several stages at one time; Algorithm 2 needs a multistep solver, "
            "whole_trajectory does not"
        )
    evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
    rows = torch.arange(len(image), device=image.device)
    unit = fine * solver.schedule.times / 1000

    def solve(i: int, target: Tensor) -> Root:
        history = [j for j in range(i) if solver.b[i, j]]
        oldest = min(history, default=i)
        rough, outputs = target, {}
        for j in range(i, oldest - 1, -1):
            gap = time_of(solver, j) - time_of(solver, j + 1)
            count = max(1, round(abs(gap) / unit)) if history else 1
            rough = walk(evaluator, rough, j + 1, j, count, rows)
            if j == i:
                start = rough
            if history:
                outputs[j] = evaluator.output(rough, j, rows)
        total = solver.b[i].sum().item()
        frozen = torch.zeros_like(image)
        for j in outputs:
            weight = solver.b[i, j].item() - (total if j == i else 0.0)
            frozen = frozen + weight * outputs[j]
        step = StepProblem(evaluator, i, target, b=total, c=frozen)
        search = finder or _paper_finder(solver, i)
        return (search if tol is None else partial(search, tol=tol))(step, start, slope=step.slope)

    return solve_backwards(evaluator, image, solve, "algorithm2")


def _paper_finder(solver: Solver, i: int) -> Finder:
    """The forward step method with the step sizes of the authors' code."""
    if i == solver.steps - 1:
        return partial(forward_step_method, rho=1.0)
    cleaner = abs(time_of(solver, i + 1) - time_of(solver, solver.steps))
    cleaner *= 1000 / solver.schedule.times
    rho = min(1.0, 10 / max(cleaner, 1.0))
    return partial(forward_step_method, rho=rho, plateau=20 if i == 0 else None)
