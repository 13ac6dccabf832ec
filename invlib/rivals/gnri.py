"""Guided Newton-Raphson inversion, a re-implementation: the paper's formula and its code's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..inverters.steps import StepProblem
from ..rootfind import Root
from ..sampling import as_state
from ..shapes import column
from ..solvers import Solver
from .steps import all_rows, step_by_step, unchecked

Evaluation = tuple[Tensor, Tensor, Tensor]
Evaluate = Callable[[StepProblem, Tensor, Tensor, float], Evaluation]


def gnri(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 2,
    prior: float = 0.1,
) -> Inversion:
    r"""GNRI by its paper: elementwise division by the gradient of one scalar residual.

    .. math:: F(z) = \|f(z) - z\|_1 + \lambda\,G(z), \quad
              G(z) = \frac{\|z - \alpha_i x_0\|^2}{2\sigma_i^2}, \quad
              z_j \leftarrow z_j - \frac1d \frac{F(z)}{\partial F/\partial z_j}

    with :math:`x_0` the image. One equation in d unknowns: it is Newton's method for d = 1 only,
    and with :math:`\lambda > 0` a state that solves the step is no root of F. The result is f of
    the best iterate; its residual is not evaluated (NaN, ``budget``).

    Args:
        denoiser: the network; must allow reverse-mode differentiation.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points.
        iterations: iterations a step, three evaluations each.
        prior: weight :math:`\lambda` of the Gaussian prior.

    Source: Samuel et al., ICLR 2025, section 4; 2 iterations and 0.1 as in the authors' code.
    """
    return _gnri(denoiser, image, solver, _paper, iterations, prior, "gnri")


def gnri_released(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 2,
    prior: float = 0.1,
) -> Inversion:
    r"""GNRI as its code runs: without the network's Jacobian, so a step of equal size everywhere.

    .. math:: z_j \leftarrow z_j + \frac{F}{d}\,\mathrm{sign}\bigl(f(z)_j - z_j\bigr), \quad
              F = \|f(z) - z\|_1 + \lambda\,G(f(z))

    Network and scheduler run without gradients there, so the prior has none either.
    Arguments and source as :func:`gnri`; one evaluation an iteration.
    """
    return _gnri(denoiser, image, solver, _released, iterations, prior, "gnri_released")


def _gnri(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    evaluate: Evaluate,
    iterations: int,
    prior: float,
    method: str,
) -> Inversion:
    data = as_state(image, "image")

    def solve(step: StepProblem) -> Root:
        z, x = step.target, step.target
        best = torch.full((len(z),), torch.inf).to(z)
        for _ in range(iterations):
            value, score, gradient = evaluate(step, z, data, prior)
            better = score < best
            best = torch.where(better, score, best)
            x = torch.where(column(better, x), value, x)
            z = z - torch.where(gradient == 0, 0, column(score, z) / gradient)
        return unchecked(x, iterations, failed=best.isinf())

    return step_by_step(denoiser, image, solver, solve, method)


def _paper(step: StepProblem, z: Tensor, data: Tensor, prior: float) -> Evaluation:
    """f(z), F(z)/d and the gradient of F, through the network."""
    r, pull_back = step.vjp(z, all_rows(z))
    value = z - r / step.slope
    away, variance = _from_prior(step, z, data)
    score = (value - z).abs() + prior * away.square() / (2 * variance)
    gradient = -pull_back((value - z).sign())[0].detach() / step.slope + prior * away / variance
    return value.detach(), score.detach().flatten(1).mean(1), gradient


def _released(step: StepProblem, z: Tensor, data: Tensor, prior: float) -> Evaluation:
    """f(z), F/d and what is left of the gradient of F where the network has none."""
    value = z - step(z, all_rows(z)) / step.slope
    away, variance = _from_prior(step, value, data)
    score = (value - z).abs() + prior * away.square() / (2 * variance)
    return value, score.flatten(1).mean(1), -(value - z).sign()


def _from_prior(step: StepProblem, z: Tensor, data: Tensor) -> tuple[Tensor, float]:
    """Distance from the prior's mean, and the prior's variance."""
    solver = step.evaluator.solver
    return z - solver.alpha[step.i].item() * data, solver.sigma[step.i].item() ** 2
