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
from ..room import Parts, joined
from ..sampling import as_state
from ..solvers import Solver
from .linear import Product, preconditioner, solved
from .trajectory import residual, transposed

FORCING = 1e-12  # relative residual of the adjoint system at which it counts as solved
ROOTS = ("converged", "round-off")  # reasons of a search whose states solve the equations
LARGEST = 1e-4  # its relative residual from which on a gradient is doubtful
SLACK = 100  # how much larger than asked for it may be, as GMRES sees it preconditioned


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
        product = transposed_matrix(ctx.denoiser, ctx.solver, y, ctx.parts)
        return -adjoint(ctx.solver, product, g.to(y)), None, None, None, None


def adjoint(solver: Solver, product: Product, g: Tensor, *, forcing: float = FORCING) -> Tensor:
    r"""Solve :math:`R_y^T \lambda = g`, ``[B, N, ...]``, by GMRES with restarts.

    Preconditioned with the transposed inverse of the matrix that the same recursion has for
    Gaussian data. Warns where the residual stays far above what was asked for: next to a fold,
    where the noise moves infinitely fast.

    Args:
        solver: the sampler's table.
        product: with :math:`R_y^T`, as of :func:`transposed_matrix`.
        g: the right-hand side, ``[B, N, ...]``.
        forcing: relative residual at which a sample is done.
    """
    found, miss = solved(product, preconditioner(solver).T, g, forcing=forcing)
    worst = miss.max().item()
    if not worst < max(LARGEST, SLACK * forcing):
        warnings.warn(
            f"the gradient of the noise is only good to {worst:.0e}: the sampler nearly folds "
            "here, or the network's own derivative is that rough; ask singular_values",
            stacklevel=2,
        )
    return found


def transposed_matrix(
    denoiser: Denoiser, solver: Solver, y: Tensor, parts: Parts | None = None
) -> Product:
    """The product with :math:`R_y^T` at states ``y [B, N, ...]``, from one graph of the network.

    Where memory is full, from one of smaller parts, from then on.
    """
    x, calls = y.detach().requires_grad_(), parts or Parts()

    def graph() -> Tensor:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            return graph_of_outputs(denoiser, solver, x, calls)

    made = [graph()]

    def back(v: Tensor) -> Tensor:
        while True:
            if not made:
                made.append(graph())
            try:
                (found,) = torch.autograd.grad(
                    made[0], x, v, retain_graph=True, materialize_grads=True
                )
                return found
            except (RuntimeError, MemoryError) as error:
                if not is_full(error) or not calls.halve(y.shape[:2].numel()):
                    raise
            made.clear()  # out of the handler, which keeps what the work had made alive

    def product(v: Tensor, which: Tensor) -> Tensor:
        def pull(w: Tensor) -> Tensor:
            whole = torch.zeros_like(y)
            whole[which] = w
            return back(whole)[which]

        return transposed(solver, v, pull)

    return product
