"""Singular values of a sampler: how much it stretches and shrinks small changes of a noise."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .bridge import subspace_singular_values
from .denoisers import Denoiser, differences, select
from .devices import beside
from .newton import forward_mode
from .room import Parts, joined
from .sampling import as_state, steps
from .solvers import Solver


def singular_values(
    denoiser: Denoiser,
    noise: Tensor,
    solver: Solver,
    *,
    vectors: int = 12,
    max_batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Smallest and largest singular value of the sampler's Jacobian, ``[B]`` each.

    Golub-Kahan-Lanczos with full reorthogonalisation. With as many vectors as the noise has
    entries the values are exact; with fewer, the smallest is estimated from above and the
    largest from below.

    Args:
        denoiser: the network.
        noise: where to take the Jacobian, ``[B, ...]``.
        solver: the sampler's table.
        vectors: Lanczos vectors.
        max_batch: most samples at once; by default as many as have room, with the graph of their
            whole run (see :mod:`invlib.room`).
    """
    denoiser, noise = beside(denoiser, noise), as_state(noise, "noise")
    vectors = min(vectors, noise[0].numel())
    parts = Parts(max_batch, differences(denoiser) is not None)

    def some(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return _values(select(denoiser, rows), x, solver, vectors)

    found = parts.map(some, noise, torch.arange(len(noise), device=noise.device))
    small, large = zip(*found, strict=True)
    return torch.cat(small), torch.cat(large)


def _values(
    denoiser: Denoiser, noise: Tensor, solver: Solver, vectors: int
) -> tuple[Tensor, Tensor]:
    """The singular values of some samples, ``[k]`` each."""

    def image(x: Tensor) -> Tensor:
        return sample_image(denoiser, x, solver)

    if differences(denoiser) is not None:
        return subspace_singular_values(image, noise, vectors=vectors)
    with sdpa_kernel(SDPBackend.MATH):
        _, pull_back = cast(Any, torch.func.vjp(image, noise))
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(noise[0].numel(), generator=generator, dtype=torch.float64).to(noise)
        right = [_unit(v.expand(len(noise), -1))]
        left: list[Tensor] = []
        matrix = v.new_zeros(len(noise), vectors, vectors)
        spent = torch.zeros(len(noise), dtype=torch.bool, device=noise.device)
        for k in range(vectors):
            with torch.no_grad():  # no graph of the network's own parameters
                u = forward_mode(image, noise, right[-1].view_as(noise)).flatten(1)
            size, direction = _orthogonalise(u, left)
            left.append(direction)
            matrix[:, k, k] = torch.where(spent, matrix[:, 0, 0], size)
            if k + 1 == vectors:
                break
            w = pull_back(left[-1].view_as(noise))[0].flatten(1).detach()
            size, direction = _orthogonalise(w, right)
            right.append(direction)
            spent |= size <= 1e-13 * matrix.amax((1, 2))  # all is found, the rest is round-off
            matrix[:, k, k + 1] = torch.where(spent, 0.0, size)
    finite = matrix.isfinite().flatten(1).all(1)
    values = torch.linalg.svdvals(torch.where(finite[:, None, None], matrix, 0.0))
    values = torch.where(finite[:, None], values, torch.nan)
    return values[:, -1], values[:, 0]


def sample_image(
    denoiser: Denoiser, noise: Tensor, solver: Solver, parts: Parts | None = None
) -> Tensor:
    """The image as a differentiable function of the noise, without checks."""
    rows, y = torch.arange(len(noise), device=noise.device), noise * solver.scale

    def output(y: Tensor, i: int) -> Tensor:
        given = y, torch.full_like(rows, i), rows
        call = partial(solver.output, denoiser)
        return call(*given) if parts is None else joined(parts.map(call, *given))

    for _, _, after in steps(solver, output, y):
        y = after
    return y


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-300)


def _orthogonalise(x: Tensor, basis: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Norm and direction of x without its parts along the basis."""
    for _ in range(2):
        for b in basis:
            x = x - (x * b).sum(1, keepdim=True) * b
    return x.norm(dim=1), _unit(x)
