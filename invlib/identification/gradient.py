r"""The gradient of a likelihood by what its network keeps, through root and determinant.

With the equations :math:`R(y; \theta) = 0` of a trajectory, whose noise is in :math:`y_0`,

.. math:: -\log p(x \mid \theta) = \tfrac12\|z\|^2 + \log|\det R_y| + \text{const},

since :math:`|\det R_y|` is that of the sampler from its first state: all other blocks are
eliminated one after the other. No search is differentiated, and no determinant is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..inverters.implicit import adjoint, graph_of_outputs
from ..inverters.trajectory import residual
from ..likelihood import Problem
from ..room import Parts


def likelihood_gradient(
    problem: Problem,
    states: Tensor,
    leaves: Sequence[Tensor],
    probe: Tensor,
    *,
    forcing: float = 1e-12,
) -> tuple[tuple[Tensor, ...], int]:
    r"""An estimate of the gradient of :math:`-\log p(x \mid \theta)`, right in the mean.

    .. math:: f = \tfrac12\|z\|^2 + w^T R_y v, \quad R_y^T w = v, \qquad
              \mathrm df = (f_\theta - \lambda^T R_\theta)\,\mathrm d\theta, \quad
              R_y^T \lambda = f_y

    with w and v held fixed in the derivatives of f. For a random vector v with
    :math:`E[v v^T] = I` the mean of the second term is the derivative of :math:`\log|\det R_y|`
    (Jacobi's formula and Hutchinson's trace); for v = 0 what is left is the exact gradient of the
    norm. Two linear systems in all, by GMRES with reverse-mode products, each through all nodes.

    Args:
        problem: its denoiser depends on the leaves.
        states: the root y_0 ... y_n, ``[n+1, B, ...]``.
        leaves: the parameters.
        probe: v, ``[B, N, ...]``.
        forcing: relative residual at which a linear system is solved.

    Returns:
        The gradients, one for each leaf, and the network evaluations that a sample paid for.
    """
    solver, cost = problem.solver, 0
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        y = states[:-1].detach().transpose(0, 1).contiguous().requires_grad_()
        m = graph_of_outputs(problem.denoiser, solver, y, Parts(problem.max_batch))
        r = residual(solver, states[-1].detach().to(y), y, m)

        def transposed(v: Tensor, which: Tensor) -> Tensor:
            nonlocal cost
            cost += 2 * solver.steps
            whole = torch.zeros_like(y)
            whole[which] = v
            return torch.autograd.grad(r, y, whole, retain_graph=True)[0][which]

        f = problem.noise(y[:, 0]).square().sum() / 2
        if probe.any():
            w = adjoint(solver, transposed, probe, forcing=forcing)
            (product,) = torch.autograd.grad(r, y, w, create_graph=True)
            f = f + (product * probe).sum()
        by_state, *direct = torch.autograd.grad(
            f, (y, *leaves), retain_graph=True, materialize_grads=True
        )
        back = adjoint(solver, transposed, by_state, forcing=forcing)
        moved = torch.autograd.grad(r, leaves, back)
    gradients = tuple(own - other for own, other in zip(direct, moved, strict=True))
    return gradients, cost + 8 * solver.steps
