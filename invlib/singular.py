"""Singular values of a sampler: how much it stretches and shrinks small changes of a noise."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .bridge import subspace_singular_values
from .denoisers import Denoiser, differences
from .derivatives import BATCH, Derivatives, sampler_products
from .devices import beside
from .inverse_iteration import inverse_iteration
from .room import Parts, joined
from .sampling import as_state, steps
from .solvers import Solver


def singular_values(
    denoiser: Denoiser,
    noise: Tensor,
    solver: Solver,
    *,
    vectors: int = 12,
    inverse: bool = False,
    max_batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Smallest and largest singular value of the sampler's Jacobian, ``[B]`` each.

    Golub-Kahan-Lanczos with full reorthogonalisation. With as many vectors as the noise has
    entries the values are exact; with fewer, the smallest is estimated from above and the
    largest from below. The smallest may then be too large by orders of magnitude:
    :func:`~invlib.inverse_iteration.inverse_iteration` makes it tight, at a cost of its own.

    It costs one sampler run, two for every vector, and three for every one but the last. No graph
    of a run is kept: the memory is that of its states and of the graph of one call.

    Args:
        denoiser: the network.
        noise: where to take the Jacobian, ``[B, ...]``.
        solver: the sampler's table.
        vectors: Lanczos vectors.
        inverse: whether inverse iteration goes on from the smallest, if vectors are few.
        max_batch: most states in one call; by default as many as have the size of one latent of
            512 x 512 pixels.
    """
    denoiser, noise = beside(denoiser, noise), as_state(noise, "noise")
    size = noise[0].numel()
    vectors = min(vectors, size)
    if differences(denoiser) is not None:
        return subspace_singular_values(
            lambda x: sample_image(denoiser, x, solver), noise, vectors=vectors
        )
    with torch.no_grad():
        states = sampled_states(denoiser, noise, solver, Parts(max_batch))
    network = Derivatives(denoiser, solver, max_batch or max(1, BATCH // size))
    push, pull = sampler_products(network, states)
    v = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    right = [_unit(v.to(noise).expand(len(noise), -1))]
    left: list[Tensor] = []
    matrix = noise.new_zeros(len(noise), vectors, vectors)
    spent = torch.zeros(len(noise), dtype=torch.bool, device=noise.device)
    for k in range(vectors):
        u = push(solver.scale * right[-1].view_as(noise)).flatten(1)
        length, direction = _orthogonalise(u, left)
        left.append(direction)
        matrix[:, k, k] = torch.where(spent, matrix[:, 0, 0], length)
        if k + 1 == vectors:
            break
        w = solver.scale * pull(left[-1].view_as(noise)).flatten(1)
        length, direction = _orthogonalise(w, right)
        right.append(direction)
        spent |= length <= 1e-13 * matrix.amax((1, 2))  # all is found, the rest is round-off
        matrix[:, k, k + 1] = torch.where(spent, 0.0, length)
    finite = matrix.isfinite().flatten(1).all(1)
    _, values, turned = torch.linalg.svd(torch.where(finite[:, None, None], matrix, 0.0))
    values = torch.where(finite[:, None], values, torch.nan)
    small, large = values[:, -1], values[:, 0]
    if inverse and vectors < size:
        start = torch.einsum("bk,bkd->bd", turned[:, -1], torch.stack(right, 1))
        small = torch.fmin(small, inverse_iteration(network, states, start.view_as(noise)))
    return small, large


def sample_image(
    denoiser: Denoiser, noise: Tensor, solver: Solver, parts: Parts | None = None
) -> Tensor:
    """The image as a differentiable function of the noise, without checks."""
    return sampled_states(denoiser, noise, solver, parts)[-1]


def sampled_states(
    denoiser: Denoiser, noise: Tensor, solver: Solver, parts: Parts | None = None
) -> Tensor:
    """The states y_0 ... y_n of the run from a noise, ``[n+1, B, ...]``, without checks."""
    rows, y = torch.arange(len(noise), device=noise.device), noise * solver.scale

    def output(y: Tensor, i: int) -> Tensor:
        given = y, torch.full_like(rows, i), rows
        call = partial(solver.output, denoiser)
        return call(*given) if parts is None else joined(parts.map(call, *given))

    return torch.stack([y, *(after for _, _, after in steps(solver, output, y))])


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-300)


def _orthogonalise(x: Tensor, basis: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Norm and direction of x without its parts along the basis."""
    for _ in range(2):
        for b in basis:
            x = x - (x * b).sum(1, keepdim=True) * b
    return x.norm(dim=1), _unit(x)
