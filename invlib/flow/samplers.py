r"""Samplers of flow matching as tables.

All solve :math:`dx/d\sigma = v(x, \sigma)` with the velocity :math:`v = \epsilon - x_0`, which
is ``(x - x_0) / sigma`` at a state x and the prediction ``flow`` of
:mod:`invlib.denoisers`; networks that predict something else are converted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..schedule import Grid
from ..solvers import Solver


@dataclass(frozen=True, kw_only=True)
class FlowSolver(Solver):
    """A flow-matching sampler with stages between its steps.

    Attributes:
        grid: the points between which it steps; the other attributes are of its stages.
    """

    grid: Grid


def flow_euler(grid: Grid) -> Solver:
    r"""Euler's method, the usual sampler of flow matching.

    .. math:: x_{i+1} = x_i + d_i\,v(x_i, \sigma_i), \qquad d_i = \sigma_{i+1} - \sigma_i

    Args:
        grid: time points, N+1.

    Returns:
        A table of N calls, solved step by step by :func:`invlib.invert`.

    Source: Liu, Gong, Liu, ICLR 2023; FlowMatchEulerDiscreteScheduler of diffusers.
    """
    b = torch.diag(grid.sigma.diff())
    _check_straight(grid)
    a, alpha = torch.ones(grid.steps, dtype=torch.float64), 1 - grid.sigma
    name = f"Flow-Euler-{grid.steps}"
    return Solver(name, a, b, grid.t[:-1], alpha, grid.sigma, "flow", grid.schedule)


def flow_midpoint(grid: Grid) -> FlowSolver:
    r"""The explicit midpoint rule, with which RF-Solver samples.

    .. math:: x_{i+1} = x_i + d_i\,v\bigl(x_i + \tfrac{d_i}{2} v(x_i, \sigma_i),\,
              \sigma_i + \tfrac{d_i}{2}\bigr)

    Args:
        grid: time points, N+1.

    Returns:
        A table of 2N calls; its states are the points of the grid and those half-way.

    Source: Wang et al. (RF-Solver), ICML 2025, re-implemented.
    """
    d, n = grid.sigma.diff(), grid.steps
    first, second = torch.arange(0, 2 * n, 2), torch.arange(1, 2 * n, 2)
    b = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    b[first, first] = d / 2
    b[second, first] = -d / 2
    b[second, second] = d
    t = torch.stack([grid.t[:-1], _half(grid.t)], 1).flatten()
    sigma = torch.stack([grid.sigma[:-1], _half(grid.sigma)], 1).flatten()
    sigma = torch.cat([sigma, grid.sigma[-1:]])
    return _staged("Flow-midpoint", grid, b, t, sigma)


def flow_fireflow(grid: Grid) -> FlowSolver:
    r"""FireFlow's sampler: the midpoint rule with the last midpoint's velocity as predictor.

    .. math:: u_i = v\bigl(x_i + \tfrac{d_i}{2} u_{i-1},\, \sigma_i + \tfrac{d_i}{2}\bigr),
              \quad x_{i+1} = x_i + d_i u_i, \quad u_{-1} = v(x_0, \sigma_0)

    Written in the states :math:`y_{i+1} = x_i + \tfrac{d_i}{2} u_{i-1}` at which the network is
    called it is a multistep method with one older output.

    Args:
        grid: time points, N+1.

    Returns:
        A table of N+1 calls; its states are the noise, the points half-way, and the image.

    Source: Deng et al. (FireFlow), ICML 2025, re-implemented.
    """
    d, n = grid.sigma.diff(), grid.steps
    k = torch.arange(n)
    b = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    b[0, 0] = d[0] / 2
    b[k + 1, k] = -d / 2
    b[k + 1, k + 1] = d + torch.cat([d[1:], d.new_zeros(1)]) / 2
    t = torch.cat([grid.t[:1], _half(grid.t)])
    sigma = torch.cat([grid.sigma[:1], _half(grid.sigma), grid.sigma[-1:]])
    return _staged("FireFlow", grid, b, t, sigma)


def _staged(name: str, grid: Grid, b: Tensor, t: Tensor, sigma: Tensor) -> FlowSolver:
    _check_straight(grid)
    a, name = torch.ones(len(t), dtype=torch.float64), f"{name}-{grid.steps}"
    return FlowSolver(name, a, b, t, 1 - sigma, sigma, "flow", grid.schedule, grid=grid)


def _check_straight(grid: Grid) -> None:
    if not torch.allclose(grid.alpha, 1 - grid.sigma, rtol=0, atol=1e-6):
        raise ValueError(
            "flow matching steps on the straight path alpha = 1 - sigma, and this grid is not on "
            "it: take flow_grid or straight_grid, or a sampler such as invlib.ddim"
        )


def _half(values: Tensor) -> Tensor:
    return (values[:-1] + values[1:]) / 2
