"""Checks of the exercises of chapter 7, the whole trajectory at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoisers import Denoiser, gaussian
from ..inverters.trajectory import gaussian_matrix
from ..sampling import sample
from ..schedule import Schedule
from ..solvers import Solver, dpm_solver_pp_2m
from . import told

Residual = Callable[[Denoiser, Solver, Tensor, Tensor], Tensor]
Matrix = Callable[[Tensor, Tensor, Tensor], Tensor]


def check_residual(function: Residual) -> bool:
    r"""Check the exercise "all equations": :math:`R_i = y_{i+1} - a_i y_i - \sum_j b_{ij} m_j`.

    Args:
        function: the reader's ``(network, solver, y, image) -> R``, with ``y`` and R ``[N, B, D]``.

    Returns:
        Whether it passed.
    """
    return told(
        "residual", "R is 0 on the sampler's own path, and not beside it", _residual(function)
    )


def check_matrix(function: Matrix) -> bool:
    r"""Check the exercise "the matrix": :math:`T_{ij} = [j = i+1] - a_i [j = i] - b_{ij} g_j`.

    Args:
        function: the reader's ``(a, b, g) -> T``, of ``a [N]``, ``b [N, N]``, ``g [N]``.

    Returns:
        Whether it passed.
    """
    return told("matrix", "T is the matrix of the equations for Gaussian data", _matrix(function))


def _residual(function: Residual) -> str:
    schedule = Schedule.scaled_linear()
    network = gaussian(schedule, torch.ones(3, dtype=torch.float64), 0.5)
    solver = dpm_solver_pp_2m(schedule.grid(5))
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 3, dtype=torch.float64, generator=draw)
    path = sample(network, noise, solver)
    y = path.states[:-1]
    found = function(network, solver, y.clone(), path.image)
    if not isinstance(found, Tensor):
        return f"the function returns a {type(found).__name__}; end it with `return` and R"
    if found.shape != y.shape:
        return f"R has shape {tuple(found.shape)} instead of {tuple(y.shape)}"
    if not found.any():
        return "R is 0 everywhere; put the terms of the equation into it"
    size = found.abs().amax((1, 2))
    if size[-1] > 1e-8 and (size[:-1] < 1e-8).all():
        return "only the last equation is wrong; the state after the last one is the image"
    if size[0] < 1e-8 < size[1]:
        return "the first equation is right; later ones use older outputs, too: sum over j <= i"
    if (size > 1e-8).any():
        return "R is not 0 on the sampler's own path; compare with the equation term by term"
    wrong = function(network, solver, y + 0.1, path.image)
    outputs = torch.stack(
        [
            solver.output(network, v + 0.1, torch.full((4,), j), torch.arange(4))
            for j, v in enumerate(y)
        ]
    )
    after = torch.cat([y[1:] + 0.1, path.image[None]])
    right = after - solver.a[:, None, None] * (y + 0.1)
    right = right - torch.einsum("ij,jbd->ibd", solver.b, outputs)
    if torch.allclose(wrong, -right, atol=1e-8):
        return "all signs are turned round: y_(i+1) has the sign +, the other terms -"
    if not torch.allclose(wrong, right, atol=1e-8):
        return "R is right on the path but not beside it; it has to use the states that it is given"
    return ""


def _matrix(function: Matrix) -> str:
    solver = dpm_solver_pp_2m(Schedule.scaled_linear().grid(6))
    alpha, sigma = solver.alpha[:-1], solver.sigma[:-1]
    g = alpha * 0.5 / (alpha**2 * 0.5 + sigma**2)
    found = function(solver.a, solver.b, g)
    wanted = gaussian_matrix(solver, 0.5)
    if not isinstance(found, Tensor):
        return f"the function returns a {type(found).__name__}; end it with `return` and T"
    if found.shape != wanted.shape:
        return f"T has shape {tuple(found.shape)} instead of {tuple(wanted.shape)}"
    if found.dtype != wanted.dtype:
        return f"T is {found.dtype}, a and b are {wanted.dtype}; make it like them"
    ones = torch.diag(torch.ones(len(wanted) - 1, dtype=wanted.dtype), 1)
    if torch.allclose(found, wanted - ones + ones.T):
        return "the 1 of y_(i+1) stands in the column of y_(i+1): above the diagonal, not below"
    if torch.allclose(found, -wanted):
        return "all signs are turned round: y_(i+1) has the sign +, the other terms -"
    if torch.allclose(found, wanted + torch.diag(solver.a)):
        return "the term with a is missing"
    if torch.allclose(found, wanted + solver.b * g - solver.b):
        return "b meets the outputs, m_j = g_j y_j: g is missing"
    if torch.allclose(found, wanted + solver.b * g - solver.b * g[:, None]):
        return "column j of b belongs to g_j; here row i has g_i"
    if not torch.allclose(found, wanted):
        return "T is wrong; check it entry by entry for two steps"
    return ""
