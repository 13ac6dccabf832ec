r"""The smallest singular value of a sampler by iterations with the inverse of its Jacobian.

.. math:: \Phi'^{-1} u = -\tfrac1s\,e_0^T R_y^{-1} e_{n-1} u, \qquad
          \Phi'^{-T} v = -\tfrac1s\,e_{n-1}^T R_y^{-T} e_0 v

with the equations R of a trajectory and the scale s of its first state. What is smallest for
:math:`\Phi'` is largest for its inverse, where a few iterations find it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from .denoisers import select
from .derivatives import Derivatives, sampler_products
from .inverters.linear import preconditioner, products, solved

STEPS = 6  # most iterations
SETTLED = 0.01  # an iteration that lowers the value by less than this share of it is the last
FORCING, KRYLOV, RESTARTS = 1e-4, 60, 2  # of a linear system


def inverse_iteration(network: Derivatives, states: Tensor, start: Tensor) -> Tensor:
    r"""An upper bound of the smallest singular value of a sampler, ``[B]``, seldom far above it.

    .. math:: x_{k+1} = \Phi'^{-1}\,\Phi'^{-T} x, \qquad
              x = \arg\min_{\operatorname{span}(x_0 \dots x_k)} \frac{\|\Phi' x\|}{\|x\|}

    The products with inverses are solutions of linear systems by GMRES, as far as it gets. The
    norms are taken with products of :math:`\Phi'` itself: they are bounds for any x, and what a
    system leaves unsolved makes the bound less tight, not wrong.

    An iteration is worth two sampler runs, and two for each Krylov vector of one system and three
    for each of the other, the transposed one: at most ``KRYLOV`` vectors, ``RESTARTS`` times. There
    are at most ``STEPS`` iterations, and none after one that hardly lowers the value.

    Args:
        network: the derivatives.
        states: y_0 ... y_n of a run, ``[n+1, B, ...]``.
        start: x_0, ``[B, ...]``; the nearer to the direction looked for, the better.

    Returns:
        The bound; NaN where the start or a state is not finite.
    """
    value = torch.full((len(start),), torch.nan).to(start)
    new = start.flatten(1)
    new = new / new.norm(dim=1, keepdim=True)
    finite = new.isfinite().all(1) & states.transpose(0, 1).flatten(1).isfinite().all(1)
    rows = finite.nonzero().flatten()
    new = new[rows]
    basis, images = (new.new_zeros(len(rows), 0, new.shape[1]) for _ in range(2))
    for k in range(STEPS + 1):
        if not len(rows):
            break
        run = states[:, rows]
        push, _ = sampler_products(_of(network, rows), run)
        image = network.solver.scale * push(new.view_as(run[0])).flatten(1)
        basis, images = (torch.cat(v, 1) for v in ((basis, new[:, None]), (images, image[:, None])))
        _, lengths, turned = torch.linalg.svd(images.transpose(1, 2), full_matrices=False)
        before, value[rows] = value[rows], lengths[:, -1]
        go_on = ~(value[rows] > (1 - SETTLED) * before) & (value[rows] > 0) & (k < STEPS)
        x = torch.einsum("bk,bkd->bd", turned[:, -1], basis)[go_on]
        rows, basis, images = rows[go_on], basis[go_on], images[go_on]
        run = states[:, rows]
        x = there_and_back(_of(network, rows), run, x.view_as(run[0]))
        new, fresh = _beside(x.flatten(1), basis)
        rows, new, basis, images = (v[fresh] for v in (rows, new, basis, images))
    return value


def there_and_back(network: Derivatives, states: Tensor, x: Tensor) -> Tensor:
    r"""The direction of :math:`\Phi'^{-1}\Phi'^{-T} x`, ``[B, ...]``, by two linear systems.

    Args:
        network: the derivatives.
        states: y_0 ... y_n of a run, ``[n+1, B, ...]``.
        x: vectors in the space of noises.
    """
    y, inverse = states[:-1].transpose(0, 1), preconditioner(network.solver)
    push, pull = products(network, y)
    right = torch.zeros_like(y)
    right[:, 0] = x
    solve = partial(solved, forcing=FORCING, krylov=KRYLOV, restarts=RESTARTS)
    adjoint, _ = solve(pull, inverse.T, right)
    right = torch.zeros_like(y)
    right[:, -1] = adjoint[:, -1]
    return solve(push, inverse, right)[0][:, 0]


def _of(network: Derivatives, rows: Tensor) -> Derivatives:
    """The derivatives of the network of some samples."""
    return replace(network, denoiser=select(network.denoiser, rows))


def _beside(x: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors without their parts in a basis, and whether enough is left of each."""
    x = x / x.norm(dim=1, keepdim=True)
    fresh = x.isfinite().all(1)
    for _ in range(2):
        x = x - torch.einsum("bk,bkd->bd", torch.einsum("bd,bkd->bk", x, basis), basis)
        fresh &= x.norm(dim=1) > 1e-10
        x = x / x.norm(dim=1, keepdim=True)
    return x, fresh
