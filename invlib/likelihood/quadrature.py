r"""Determinants from products alone: stochastic Lanczos quadrature.

.. math:: \log|\det S'| = \tfrac12 \operatorname{tr}\log(S'^T S')
          = \mathbb E\,\tfrac12\,v^T \log(S'^T S')\,v, \qquad v_k = \pm 1

Golub-Kahan-Lanczos makes of every random vector v a small bidiagonal matrix, and its singular
values :math:`\theta_k` and the first entries :math:`w_k` of their right vectors the Gauss rule
:math:`D \sum_k w_k^2 \log\theta_k`. The rule comes down to its limit from above, since all even
derivatives of the logarithm are negative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..denoisers import Denoiser, jvp_cost, select
from ..newton import forward_mode
from ..sampling import steps
from ..solvers import Solver
from .problem import Problem
from .result import Determinant

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Quadrature:
    """How to estimate determinants; to be given to :func:`invlib.likelihood`.

    Candidates get the same random vectors, so that the differences of their likelihoods are known
    better than the likelihoods themselves. A vector costs five runs of the sampler a step.

    Attributes:
        vectors: random vectors; 2 at least, for an error.
        steps: Lanczos steps of each.
        seed: of the vectors.

    Source: Ubaru, Chen, Saad, SIAM J. Matrix Anal. Appl. 2017.
    """

    vectors: int = 8
    steps: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.vectors < 2 or self.steps < 1:
            raise ValueError(
                f"quadrature needs 2 vectors and a step at least, got {self.vectors} and "
                f"{self.steps}"
            )

    def __call__(self, problem: Problem, denoiser: Denoiser, states: Tensor) -> Determinant:
        """The determinant of one sample at the states ``[n+1, 1, ...]``.

        Raises:
            NotImplementedError: if the network has no reverse-mode derivative.
        """
        if not problem.reverse:
            raise NotImplementedError(
                "this network has no reverse-mode derivative: compute determinants exactly "
                "(leave determinant out)"
            )
        draw = torch.Generator().manual_seed(self.seed)
        shape = (self.vectors, *states.shape[2:])
        v = (2.0 * torch.randint(0, 2, shape, generator=draw) - 1).to(states)
        push, pull = products(denoiser, problem.solver, states, self.vectors)
        count = min(self.steps, problem.size)
        matrix = bidiagonal(push, pull, v, count)
        draws = problem.size * gauss(matrix)
        shorter = count - max(1, count // 3)
        before = problem.size * gauss(matrix[:, :shorter, :shorter]) if shorter else draws
        cost = self.vectors * count * problem.solver.steps * (3 + jvp_cost(denoiser))
        gap = (before - draws).mean().abs().item() if count < problem.size else 0.0
        return Determinant(draws.mean().item(), draws.cpu(), gap, cost)


def products(
    denoiser: Denoiser, solver: Solver, states: Tensor, count: int
) -> tuple[Product, Product]:
    r"""Products of :math:`\partial y_n/\partial y_0` and its transpose with vectors ``[P, ...]``.

    .. math:: \dot y_{i+1} = a_i \dot y_i + \sum_{j \le i} b_{ij} J_j \dot y_j, \qquad
              \lambda_i = a_i \lambda_{i+1} + J_i^T \sum_{k \ge i} b_{ki} \lambda_{k+1}

    One node after the other, at the states of the run, so that a product needs the memory of one
    evaluation of P rows.

    Args:
        denoiser: the network of one sample.
        solver: the sampler's table.
        states: y_0 ... y_n, ``[n+1, 1, ...]``.
        count: vectors P of a product.
    """
    rows = torch.arange(count, device=states.device)
    every = select(denoiser, torch.zeros_like(rows))
    at = [y.repeat(count, *[1] * (y.ndim - 1)) for y in states[:-1]]

    def output(i: int) -> Product:
        return lambda x: solver.output(every, x, torch.full_like(rows, i), rows)

    def push(v: Tensor) -> Tensor:
        with torch.no_grad():
            run = [*steps(solver, lambda y, i: forward_mode(output(i), at[i], y), v)]
        return run[-1][2]

    def pull(u: Tensor) -> Tensor:
        weights = solver.b.tolist()
        after = [u]  # lambda_n, lambda_{n-1} ...
        for i in reversed(range(solver.steps)):
            terms = [weights[solver.steps - 1 - k][i] * v for k, v in enumerate(after)]
            with sdpa_kernel(SDPBackend.MATH):
                pull_back = cast(Any, torch.func.vjp(output(i), at[i]))[1]
                (back,) = pull_back(torch.stack(terms).sum(0))
            after.append(solver.a[i].item() * after[-1] + back.detach())
        return after[-1]

    return push, pull


def bidiagonal(push: Product, pull: Product, v: Tensor, count: int) -> Tensor:
    """The upper bidiagonal matrices of Golub-Kahan-Lanczos from vectors v, ``[P, k, k]``.

    With full reorthogonalisation. A vector whose Krylov space is used up gets ones on the diagonal
    from there on, which nothing is coupled to.

    Args:
        push: the product with a matrix.
        pull: that with its transpose.
        v: the vectors, ``[P, ...]``.
        count: steps k.
    """
    shape, eye = v.shape, torch.eye(count).to(v)
    right = [v.flatten(1) / v.flatten(1).norm(dim=1, keepdim=True)]
    left: list[Tensor] = []
    matrix = eye.repeat(len(v), 1, 1)
    alive = torch.ones(len(v), dtype=torch.bool, device=v.device)
    for k in range(count):
        u, size = orthogonal(push(right[-1].view(shape)).flatten(1), left)
        matrix[alive, k, k] = size[alive]
        left.append(u)
        if k + 1 == count:
            break
        w, size = orthogonal(pull(u.view(shape)).flatten(1), right)
        alive = alive & (size > 1e-12 * matrix.abs().amax((1, 2)))
        matrix[alive, k, k + 1] = size[alive]
        right.append(w)
    return matrix


def orthogonal(x: Tensor, basis: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The direction of x without its parts along a basis, and its length."""
    for _ in range(2 if basis else 0):
        stacked = torch.stack(basis, 1)
        x = x - ((stacked @ x[:, :, None]).transpose(1, 2) @ stacked)[:, 0]
    size = x.norm(dim=1)
    return x / size.clamp(min=1e-300)[:, None], size


def gauss(matrix: Tensor) -> Tensor:
    r"""The Gauss rules :math:`\sum_k w_k^2 \log\theta_k` of bidiagonal matrices, ``[P]``."""
    _, values, right = torch.linalg.svd(matrix)
    return (right[:, :, 0].square() * values.clamp(min=1e-300).log()).sum(1)
