"""The N equations of a trajectory, whose last state is the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..evaluator import Evaluator
from ..rootfind import relative_size
from ..solvers import Solver
from .secants import gaussian_derivative


def gaussian_matrix(solver: Solver, variance: float) -> Tensor:
    r"""The N x N matrix of the trajectory equations for Gaussian data of the given variance.

    The derivative of the network's output with respect to its state is then a number, for
    data prediction :math:`\alpha s^2/(\alpha^2 s^2+\sigma^2)`.
    """
    return (
        torch.diag(torch.ones(solver.steps - 1, dtype=torch.float64), 1)
        - torch.diag(solver.a)
        - solver.b * gaussian_derivative(solver, variance)
    )


def outputs(evaluator: Evaluator, y: Tensor, rows: Tensor) -> Tensor:
    """The network's outputs at states ``y [k, N, ...]`` of samples ``rows``, in one call."""
    k, n = y.shape[:2]
    nodes = torch.arange(n, device=y.device).repeat(k)
    return evaluator.output(y.flatten(0, 1), nodes, rows.repeat_interleave(n)).view_as(y)


def residual(solver: Solver, image: Tensor, y: Tensor, m: Tensor) -> Tensor:
    """The residual R ``[k, N, ...]`` at states y with outputs m."""
    weights = solver.a.to(y).view(1, -1, *[1] * (y.ndim - 2))
    return _after(image, y) - weights * y - along_time(solver.b, m)


def transposed(solver: Solver, v: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
    r"""The product :math:`R_y^T v`, ``[k, N, ...]``; that with :math:`R_y` itself is a residual.

    .. math:: (R_y^T v)_j = v_{j-1} - a_j v_j - J_j^T \sum_{i \ge j} b_{ij} v_i

    Args:
        solver: the sampler's table.
        v: one vector for each equation, ``[k, N, ...]``.
        pull: products of all :math:`J_j^T` with vectors, likewise.
    """
    weights = solver.a.to(v).view(1, -1, *[1] * (v.ndim - 2))
    before = torch.cat([torch.zeros_like(v[:, :1]), v[:, :-1]], 1)
    return before - weights * v - pull(along_time(solver.b.T, v))


def equation_sizes(image: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """The size of R in each equation, relative to the state after it, ``[k, N]``."""
    return relative_size(r.flatten(0, 1), _after(image, y).flatten(0, 1)).view(y.shape[:2])


def _after(image: Tensor, y: Tensor) -> Tensor:
    return torch.cat([y[:, 1:], image[:, None]], 1)


def along_time(matrix: Tensor, states: Tensor) -> Tensor:
    """Multiply the time axis of ``states [k, N, ...]`` by ``matrix [N, N]``."""
    return torch.einsum("ij,bj...->bi...", matrix.to(states), states)
