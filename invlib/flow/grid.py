"""The time points of flow matching, made or read off a sampler."""

from __future__ import annotations

import torch

from ..schedule import FlowSchedule, Grid
from ..solvers import Solver
from .samplers import FlowSolver


def flow_grid(steps: int, *, shift: float = 1.0, times: int = 1000) -> Grid:
    r"""The noise levels of Flux and Stable Diffusion 3, from pure noise to the image.

    .. math:: \sigma_i = \frac{s\,u_i}{1 + (s - 1)\,u_i}, \quad u_i = 1 - i/N,
              \quad \alpha_i = 1 - \sigma_i

    Args:
        steps: number N of steps.
        shift: the shift s: 3 for Stable Diffusion 3, :math:`e^\mu` for Flux.
        times: time label of pure noise; the labels are ``times`` times the noise levels.

    Returns:
        A :class:`~invlib.schedule.Grid` with N+1 points on a straight path.

    Raises:
        ValueError: if ``steps`` is below 1 or the shift is not positive.

    Source: Esser et al., ICML 2024.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not shift > 0:
        raise ValueError(f"shift must be positive, got {shift}")
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    sigma = shift * u / (1 + (shift - 1) * u)
    return Grid(sigma * times, 1 - sigma, sigma, FlowSchedule(times))


def step_grid(solver: Solver) -> Grid:
    """The points between which a flow-matching sampler steps.

    Args:
        solver: a flow-matching sampler: one of this package, or one read from diffusers.

    Returns:
        The :class:`~invlib.schedule.Grid` of a :class:`~invlib.flow.FlowSolver`; of another
        sampler the points at which it calls the network, and the image.

    Raises:
        ValueError: if the sampler is not one of flow matching, or calls the network twice at
            one noise level.
    """
    if isinstance(solver, FlowSolver):
        return solver.grid
    if not isinstance(solver.schedule, FlowSchedule):
        raise ValueError(
            f"{solver.name} is no flow-matching sampler: its states are not on the straight path "
            "alpha = 1 - sigma; use invlib.invert"
        )
    if (solver.sigma.diff() >= 0).any():
        raise ValueError(
            f"{solver.name} has several stages at one noise level; the rivals need a sampler with "
            "one, invlib.invert does not"
        )
    image = solver.schedule.image
    path = torch.copysign(solver.schedule.times * solver.sigma[-1:], solver.t[:1] - image)
    return Grid(torch.cat([solver.t, image + path]), solver.alpha, solver.sigma, solver.schedule)
