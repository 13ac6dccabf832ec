"""RF-Inversion: an inversion steered to a noise, and a sampler steered to the image."""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..sampling import Trajectory, as_state
from ..solvers import Solver
from .grid import step_grid
from .walk import Field, reverse


def rf_inversion(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    gamma: float = 0.5,
    target: Tensor | None = None,
    seed: int = 241010792,
) -> Inversion:
    r"""RF-Inversion (re-implemented): Euler on the reversed grid, pulled to a random noise.

    .. math:: x_i = x_{i+1} + (\sigma_i - \sigma_{i+1})\Bigl(v + \gamma\Bigl(
              \frac{y_1 - x_{i+1}}{1 - \sigma_{i+1}} - v\Bigr)\Bigr),
              \quad v = v(x_{i+1}, \sigma_{i+1})

    With :math:`\gamma = 0` it is :func:`~invlib.flow.euler_reversed`, with :math:`\gamma = 1` it
    ends at the noise :math:`y_1`, whatever the image.

    Args:
        denoiser: the network; the authors' is without guidance.
        image: image, ``[B, ...]``.
        solver: a flow-matching sampler.
        gamma: strength of the pull, 0 to 1; the authors' is 0.5.
        target: the noise y_1, ``[...]`` or ``[B, ...]``; by default one drawn for all images.
        seed: seed of that draw; the image's own noise must not come from the same one.

    Returns:
        An :class:`~invlib.inversion.Inversion`; one evaluation a step.

    Raises:
        ValueError: if gamma is outside [0, 1], and as :func:`~invlib.flow.walk.reverse`.

    Source: Rout et al., Semantic Image Inversion and Editing using Rectified Stochastic
    Differential Equations, ICLR 2025, Algorithm 1.
    """
    _check_strength("gamma", gamma)
    if target is None:
        generator = torch.Generator().manual_seed(seed)
        target = torch.randn(image.shape[1:], generator=generator, dtype=torch.float64)
    end = target.to(image.device, torch.float64)

    def pulled(field: Field, y: Tensor, k: int, last: Tensor | None) -> Tensor:
        free = field(y, k)
        return free + gamma * ((end - y) / (1 - field.sigma[k]) - free)

    return reverse(denoiser, image, solver, pulled, "rf_inversion")


def rf_inversion_sample(
    denoiser: Denoiser,
    noise: Tensor,
    solver: Solver,
    *,
    reference: Tensor,
    eta: float = 0.9,
    start: float = 0.0,
    stop: float = 0.25,
) -> Trajectory:
    r"""RF-Inversion's controlled sampler (re-implemented): Euler, pulled to the known image.

    .. math:: x_{i+1} = x_i + (\sigma_{i+1} - \sigma_i)\Bigl(v + \eta_i\Bigl(
              \frac{x_i - y_0}{\sigma_i} - v\Bigr)\Bigr), \quad v = v(x_i, \sigma_i)

    It is handed the answer: with :math:`\eta = 1` to the end it returns :math:`y_0` from any
    noise. With :math:`\eta = 0` it is Euler's method.

    Args:
        denoiser: the network.
        noise: starting noise, ``[B, ...]``.
        solver: an Euler sampler of flow matching.
        reference: the image y_0, ``[B, ...]``.
        eta: strength of the pull, 0 to 1; the authors' example has 0.9.
        start: part of the steps after which the pull begins.
        stop: part of the steps after which it ends; the authors' example has 7 of 28.

    Returns:
        A :class:`~invlib.sampling.Trajectory`; one evaluation a step.

    Raises:
        ValueError: if an option is outside [0, 1], the noise or reference is not a finite batch,
            or the solver is not Euler's method on a straight path.

    Source: Rout et al., ICLR 2025, Algorithm 2; defaults of the authors' repository.
    """
    for name, value in (("eta", eta), ("start", start), ("stop", stop)):
        _check_strength(name, value)
    grid = step_grid(solver)
    if not solver.order_one:
        raise ValueError(f"{solver.name} is not Euler's method, which RF-Inversion samples with")
    states = [as_state(noise, "noise") * solver.scale]
    image = as_state(reference, "reference")
    evaluator = Evaluator(denoiser, solver, [0] * len(image))
    field = Field(evaluator, grid.t.tolist(), grid.sigma.tolist())
    outputs = []
    for k in range(grid.steps):
        x = states[-1]
        outputs.append(field(x, k))
        pull = eta if round(start * grid.steps) <= k < round(stop * grid.steps) else 0.0
        velocity = outputs[-1] + pull * ((x - image) / field.sigma[k] - outputs[-1])
        states.append(x + field.gap(k) * velocity)
    return Trajectory(torch.stack(states), torch.stack(outputs), evaluator.nfe, solver.scale)


def _check_strength(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
