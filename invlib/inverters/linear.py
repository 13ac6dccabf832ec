r"""Linear systems with the derivative of a trajectory's equations, and with its transpose."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..derivatives import Derivatives
from ..newton import _gmres
from ..solvers import Solver
from ..watch import stopped
from .trajectory import along_time, gaussian_matrix, residual, transposed

VARIANCE = 0.5  # of the Gaussian data of the preconditioner
KRYLOV, RESTARTS = 60, 5
Product = Callable[[Tensor, Tensor], Tensor]  # of vectors ``[j, N, ...]`` of samples ``[j]``


def preconditioner(solver: Solver) -> Tensor:
    """The inverse of the N x N matrix that the equations have for Gaussian data."""
    return torch.linalg.inv(gaussian_matrix(solver, VARIANCE))


def products(network: Derivatives, y: Tensor) -> tuple[Product, Product]:
    r"""Products with :math:`R_y` and its transpose at states ``y [B, N, ...]``.

    .. math:: (R_y v)_i = v_{i+1} - a_i v_i - \sum_{j \le i} b_{ij} J_j v_j

    Every product goes through all nodes at once, in parts of ``network.max_batch`` states.

    Args:
        network: the derivatives of the network.
        y: states y_0 ... y_{N-1} of every sample.
    """
    solver = network.solver

    def at(which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nodes = torch.arange(solver.steps, device=y.device).repeat(len(which))
        return y[which].flatten(0, 1), nodes, which.repeat_interleave(solver.steps)

    def push(v: Tensor, which: Tensor) -> Tensor:
        jv = network.push(*at(which), v.flatten(0, 1)).view_as(v)
        return residual(solver, torch.zeros_like(v[:, 0]), v, jv)

    def pull(u: Tensor, which: Tensor) -> Tensor:
        where = at(which)
        return transposed(solver, u, lambda w: network.pull(*where, w.flatten(0, 1)).view_as(w))

    return push, pull


def solved(
    product: Product,
    inverse: Tensor,
    g: Tensor,
    *,
    forcing: float,
    krylov: int = KRYLOV,
    restarts: int = RESTARTS,
) -> tuple[Tensor, Tensor]:
    """Solve a linear system of the whole trajectory for every sample, by GMRES with restarts.

    Args:
        product: with the matrix.
        inverse: of the N x N matrix that it has for Gaussian data: the preconditioner.
        g: the right-hand sides, ``[B, N, ...]``.
        forcing: relative preconditioned residual at which a sample is done.
        krylov: most products between two restarts.
        restarts: most rounds of so many products; each ends with one more, to check.

    Returns:
        The solutions, and the relative residuals that they leave, ``[B]``.
    """
    found, miss = torch.zeros_like(g), g.clone()
    left = along_time(inverse, g).flatten(1)
    size = left.norm(dim=1)
    for _ in range(restarts):
        active = (left.norm(dim=1) > forcing * size).nonzero().flatten()
        if not len(active):
            break

        def part(v: Tensor, which: Tensor, rows: Tensor = active) -> Tensor:
            v = v.view(len(v), *g.shape[1:])
            return along_time(inverse, product(v, rows[which])).flatten(1)

        goal = (forcing * size[active] / left[active].norm(dim=1)).amin().item()
        found[active] += _gmres(part, -left[active], krylov, goal).view_as(g[active])
        miss[active] = g[active] - product(found[active], active)
        left[active] = along_time(inverse, miss[active]).flatten(1)
        if stopped():
            break
    return found, miss.flatten(1).norm(dim=1) / g.flatten(1).norm(dim=1).clamp(min=1e-300)
