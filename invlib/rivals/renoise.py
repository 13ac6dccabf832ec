"""ReNoise, a re-implementation of its renoising iterations and their average."""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..inverters.steps import StepProblem
from ..rootfind import Root
from ..solvers import Solver
from .steps import all_rows, naive_start, step_by_step, unchecked

Window = tuple[int, int]


def renoise(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 9,
    window: Window = (8, 10),
    early_iterations: int = 5,
    early_window: Window = (0, 5),
    early: float = 250.0,
) -> Inversion:
    r"""ReNoise: a fixed number of fixed-point iterations, then the mean over a window of them.

    .. math:: z^{(k+1)} = f(z^{(k)}), \quad z^{(0)} = x_{i+1}, \qquad
              x_i = \frac{1}{q - p} \sum_{k=p}^{q-1} z^{(k+1)}

    The mean of the states is the step with the mean of the noise predictions. Left out are the
    regularisation of the noise (its aim is editing, and it moves states off the equation) and the
    noise correction (which stores a tensor per step and finds no noise). The method never
    evaluates its residual: it ends as ``budget``, with residuals NaN.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points.
        iterations: renoising iterations K after the naive step, so K + 1 evaluations a step.
        window: predictions p to q - 1 that are averaged; if p > K there is no mean, as in the
            authors' example for Stable Diffusion with K = 1.
        early_iterations: most iterations near the image.
        early_window: the window there.
        early: up to which time (of 1000) a step is near the image.

    Source: Garibi et al., ECCV 2024, section 4 and algorithm 1; defaults of the authors' code.
    """

    def solve(step: StepProblem) -> Root:
        solver = step.evaluator.solver
        if solver.t[step.i] < early * solver.schedule.times / 1000:
            return _renoise(step, min(iterations, early_iterations), early_window)
        return _renoise(step, iterations, window)

    return step_by_step(denoiser, image, solver, solve, "renoise")


def _renoise(step: StepProblem, iterations: int, window: Window) -> Root:
    x = naive_start(step)
    estimates = [x]
    for _ in range(iterations):
        x = x - step(x, all_rows(x)) / step.slope
        estimates.append(x)
    averaged = estimates[slice(*window)]
    return unchecked(torch.stack(averaged).mean(0) if averaged else x, iterations)
