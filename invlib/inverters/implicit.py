r"""Derivatives of the noise through the root: no search is differentiated.

The states solve :math:`R(y; \theta) = 0`, where :math:`\theta` is whatever the equations depend
on: the image, conditions, the guidance scale, weights of the network. So

.. math:: \mathrm dy = -R_y^{-1} R_\theta\,\mathrm d\theta, \qquad
          g^T \mathrm dy = -\lambda^T R_\theta\,\mathrm d\theta, \qquad R_y^T \lambda = g

One linear system, with the transposed matrix of the whole trajectory, gives the gradients with
respect to everything.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from ..denoisers import OUTSIDE, Denoiser, differences
from ..inversion import Inversion
from ..memory import is_full
from ..newton import _gmres
from ..room import Parts, joined
from ..sampling import as_state
from ..solvers import Solver
from .trajectory import along_time, gaussian_matrix, residual

VARIANCE = 0.5  # of the Gaussian data of the preconditioner
KRYLOV, RESTARTS, FORCING = 60, 5, 1e-12
ROOTS = ("converged", "round-off")  # reasons of a search whose states solve the equations
LARGEST = 1e-4  # relative residual of the adjoint system from which on a gradient is doubtful


def attached(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    found: Inversion,
    max_batch: int | None = None,
) -> Inversion:
    r"""The same inversion, with derivatives of noise and states by the implicit function theorem.

    A backward pass solves :math:`R_y^T \lambda = g` by GMRES with reverse-mode products, each of
    which goes through all nodes in one call, and then the chain rule needs one more call. The
    derivatives are those of the root: where a search has not found one they mean nothing, and a
    warning says so.

    Args:
        denoiser: the network; what it keeps that requires a gradient (a condition, a scale,
            weights) gets one.
        image: the image that was inverted; gets one if it requires it.
        solver: the sampler's table.
        found: the states.
        max_batch: most states in one network call. Where there are more, or more than have room,
            no graph of the network is kept: each call is made again where it is differentiated.

    Raises:
        NotImplementedError: if the network leaves PyTorch.
    """
    if differences(denoiser) is not None:
        raise NotImplementedError(OUTSIDE)
    target = as_state(image, "image").to(found.states)
    y = found.states[:-1].detach().transpose(0, 1).contiguous()
    parts = Parts(max_batch)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        r = residual(solver, target, y, graph_of_outputs(denoiser, solver, y, parts))
        if not r.requires_grad:
            return found
        _warn_of(found)
        y = cast(Tensor, _Root.apply(r, y, denoiser, solver, parts))
        states = torch.cat([y.transpose(0, 1), target[None]])
    return replace(found, states=states, noise=states[0] / solver.scale)


def _warn_of(found: Inversion) -> None:
    """Name the samples whose states are no root."""
    lost = [f"sample {k} ({why})" for k, why in enumerate(found.reason) if why not in ROOTS]
    if lost:
        warnings.warn(
            f"the gradients of {', '.join(lost)} mean nothing, since no root was found of which "
            "they could be the derivatives: search longer, or leave these samples out",
            stacklevel=4,
        )


def graph_of_outputs(denoiser: Denoiser, solver: Solver, y: Tensor, parts: Parts) -> Tensor:
    """The network's outputs at states ``y [B, N, ...]`` of all nodes, with a graph.

    Of several parts only what goes in is kept.
    """
    b, n = y.shape[:2]
    nodes = torch.arange(n, device=y.device).repeat(b)
    rows = torch.arange(b, device=y.device).repeat_interleave(n)
    network = partial(solver.output, denoiser)

    def call(x: Tensor, nodes: Tensor, rows: Tensor) -> Tensor:
        if len(x) == b * n:
            return network(x, nodes, rows)
        return cast(Tensor, checkpoint(network, x, nodes, rows, use_reentrant=False))

    return joined(parts.map(call, y.flatten(0, 1), nodes, rows)).view_as(y)


class _Root(torch.autograd.Function):
    """The states as a function of the residual that they make zero."""

    @staticmethod
    def forward(
        ctx: Any, r: Tensor, y: Tensor, denoiser: Denoiser, solver: Solver, parts: Parts
    ) -> Tensor:
        """The states as they are."""
        ctx.save_for_backward(y)
        ctx.denoiser, ctx.solver, ctx.parts = denoiser, solver, parts
        return y.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The adjoint states, with the sign of the theorem."""
        (y,) = ctx.saved_tensors
        found = adjoint(ctx.denoiser, ctx.solver, y, g, ctx.parts)
        return -found, None, None, None, None


def adjoint(
    denoiser: Denoiser, solver: Solver, y: Tensor, g: Tensor, parts: Parts | None = None
) -> Tensor:
    r"""Solve :math:`R_y^T \lambda = g`, ``[B, N, ...]``, by GMRES with restarts.

    .. math:: (R_y^T \lambda)_j = \lambda_{j-1} - a_j \lambda_j
              - J_j^T \sum_{i \ge j} b_{ij} \lambda_i

    Preconditioned with the transposed inverse of the matrix that the same recursion has for
    Gaussian data. Warns where the residual stays above ``LARGEST``: next to a fold, where the
    noise moves infinitely fast.

    Args:
        denoiser: the network.
        solver: the sampler's table.
        y: states y_0 ... y_{N-1}, ``[B, N, ...]``.
        g: the right-hand side, likewise.
        parts: of the network's calls; by default as many states as have room.
    """
    inverse = torch.linalg.inv(gaussian_matrix(solver, VARIANCE)).T
    product = _transposed(denoiser, solver, y, parts or Parts())
    every = torch.arange(len(y), device=y.device)
    g = g.to(y)
    right = along_time(inverse, g)

    def preconditioned(v: Tensor, which: Tensor) -> Tensor:
        return along_time(inverse, product(v.view_as(y[which]), which)).flatten(1)

    found, size = torch.zeros_like(y), right.flatten(1).norm(dim=1)
    for _ in range(RESTARTS):
        left = right.flatten(1) - preconditioned(found.flatten(1), every)
        active = (left.norm(dim=1) > FORCING * size).nonzero().flatten()
        if not len(active):
            break

        def part(v: Tensor, which: Tensor, rows: Tensor = active) -> Tensor:
            return preconditioned(v, rows[which])

        forcing = (FORCING * size[active] / left[active].norm(dim=1)).amin().item()
        found[active] += _gmres(part, -left[active], KRYLOV, forcing).view_as(y[active])
    miss = (product(found, every) - g).flatten(1).norm(dim=1)
    worst = (miss / g.flatten(1).norm(dim=1).clamp(min=1e-300)).max().item()
    if not worst < LARGEST:
        warnings.warn(
            f"the gradient of the noise is only good to {worst:.0e}: the sampler nearly folds "
            "here, or the network's own derivative is that rough; ask singular_values",
            stacklevel=2,
        )
    return found


def _transposed(
    denoiser: Denoiser, solver: Solver, y: Tensor, parts: Parts
) -> Callable[[Tensor, Tensor], Tensor]:
    """The product with the transposed matrix of the trajectory, from one graph of the network.

    Where memory is full, from one of smaller parts, from then on.
    """
    weights = solver.a.to(y).view(1, -1, *[1] * (y.ndim - 2))
    x = y.detach().requires_grad_()

    def graph() -> Tensor:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            return graph_of_outputs(denoiser, solver, x, parts)

    made = [graph()]

    def pull(v: Tensor) -> Tensor:
        while True:
            if not made:
                made.append(graph())
            try:
                (found,) = torch.autograd.grad(
                    made[0], x, v, retain_graph=True, materialize_grads=True
                )
                return found
            except (RuntimeError, MemoryError) as error:
                if not is_full(error) or not parts.halve(y.shape[:2].numel()):
                    raise
            made.clear()  # out of the handler, which keeps what the work had made alive

    def product(v: Tensor, which: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(v[:, :1]), v[:, :-1]], 1)
        pulled = torch.zeros_like(y)
        pulled[which] = along_time(solver.b.T, v)
        return before - weights * v - pull(pulled)[which]

    return product
