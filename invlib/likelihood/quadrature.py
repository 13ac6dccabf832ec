r"""Determinants from products alone: stochastic Lanczos quadrature.

.. math:: \log|\det A| = \tfrac12 \operatorname{tr}\log(A^T A)
          = \mathbb E\,\tfrac12\,v^T \log(A^T A)\,v, \qquad v_k = \pm 1

Golub-Kahan-Lanczos makes of every random vector v a small bidiagonal matrix, and its singular
values :math:`\theta_k` and the first entries :math:`w_k` of their right vectors the Gauss rule
:math:`D \sum_k w_k^2 \log\theta_k`. The rule comes down to its limit from above, since all even
derivatives of the logarithm are negative.

A sampler whose steps use the newest output only is a product of steps :math:`a_i I + b_{ii} J_i`,
each of them near a multiple of the identity: every step gets random vectors of its own, a few
Lanczos steps are enough, and the errors of the steps average out. Else A is the whole sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..denoisers import Denoiser, jvp_cost, select
from ..newton import forward_mode
from ..room import Parts
from ..sampling import steps
from ..solvers import Solver
from ..watch import count, enter, observe
from .problem import Problem
from .result import Determinant

Product = Callable[[Tensor], Tensor]
BATCH = 2**14  # numbers in the states of one call: as many as in one latent of 512 x 512 pixels


@dataclass(frozen=True)
class Quadrature:
    """How to estimate determinants; to be given to :func:`invlib.likelihood`.

    Candidates get the same random vectors, so that the differences of their likelihoods are known
    better than the likelihoods themselves.

    Attributes:
        vectors: random vectors; 2 at least, for an error, which then has one degree of freedom:
            the true value may be 13 standard errors away (3.2 with 4 vectors, 2.4 with 8).
        steps: most Lanczos steps of each; a vector costs five runs of the sampler a step.
        tol: nats; no more steps are made once they seem to change the mean by less.
        seed: of the vectors.
        max_batch: most states in one call of the network; by default that of the likelihood, or as
            many as have the size of one latent of 512 x 512 pixels.

    Source: Ubaru, Chen, Saad, SIAM J. Matrix Anal. Appl. 2017.
    """

    vectors: int = 8
    steps: int = 24
    tol: float = 0.2
    seed: int = 0
    max_batch: int | None = None

    def __post_init__(self) -> None:
        if self.vectors < 2 or self.steps < 3:
            raise ValueError(
                f"quadrature needs 2 vectors and 3 steps at least, got {self.vectors} and "
                f"{self.steps}"
            )

    def __call__(self, problem: Problem, denoiser: Denoiser, states: Tensor) -> Determinant:
        """The determinant of one sample at the states ``[n+1, 1, ...]``.

        Where a watch ends it, it is what is known by then, with an error that says so.

        Raises:
            NotImplementedError: if the network has no reverse-mode derivative.
        """
        if not problem.reverse:
            raise NotImplementedError(
                "this network has no reverse-mode derivative: compute determinants exactly "
                "(determinant=invlib.likelihood.exactly)"
            )
        solver, size = problem.solver, problem.size
        most = self.max_batch or problem.max_batch or max(1, BATCH // size)
        network = Derivatives(denoiser, solver, most)
        rows = self.vectors * (solver.steps if solver.order_one else 1)
        draw = torch.Generator().manual_seed(self.seed)
        v = 2.0 * torch.randint(0, 2, (rows, size), generator=draw) - 1
        v = v.to(states).view(rows, *states.shape[2:])
        products = step_products if solver.order_one else sampler_products
        enter("determinant")
        totals: list[Tensor] = []
        cost, push = 0, self.vectors * solver.steps * jvp_cost(denoiser)
        for rule in rules(*products(network, states, self.vectors), v, min(self.steps, size)):
            more = push + (3 * self.vectors * solver.steps if totals else 0)
            totals.append(size * rule.view(self.vectors, -1).sum(1))
            cost += more
            count({0: more})
            gap = 0.0 if len(totals) == size else truncation(totals)
            if observe(torch.tensor([torch.inf])) or gap < self.tol:
                break
        return Determinant(totals[-1].mean().item(), totals[-1].cpu(), gap, cost)


def truncation(totals: list[Tensor]) -> float:
    r"""How far the last mean is from its limit, if its changes go on falling as they did.

    .. math:: |\delta_k| \max\Bigl(1, \frac{\rho}{1-\rho}\Bigr), \qquad
              \rho = \min(\delta_k/\delta_{k-1}, .95)

    Args:
        totals: the values of all vectors after 1, 2, ... k steps, ``[P]`` each; with less than
            three of them nothing is known.
    """
    if len(totals) < 3:
        return torch.inf
    first, second, last = (t.mean().item() for t in totals[-3:])
    before, now = abs(second - first), abs(last - second)
    ratio = min(now / before, 0.95) if before else 0.0
    return now * max(1.0, ratio / (1 - ratio))


@dataclass(frozen=True)
class Derivatives:
    """Products with the derivatives of a network at states of its nodes, in parts.

    Attributes:
        denoiser: the network of one sample.
        solver: the sampler's table.
        max_batch: most states in one call; fewer where memory is full.
    """

    denoiser: Denoiser
    solver: Solver
    max_batch: int

    @cached_property
    def parts(self) -> Parts:
        """The parts of its calls."""
        return Parts(self.max_batch)

    def push(self, y: Tensor, nodes: Tensor, v: Tensor) -> Tensor:
        """The derivatives at states ``y [k, ...]`` of nodes ``[k]`` along v, likewise."""

        def part(y: Tensor, nodes: Tensor, v: Tensor) -> Tensor:
            return forward_mode(self._at(nodes), y, v)

        with torch.no_grad():
            return torch.cat(self.parts.map(part, y, nodes, v, cost=2))

    def pull(self, y: Tensor, nodes: Tensor, u: Tensor) -> Tensor:
        """The transposed derivatives times u."""

        def part(y: Tensor, nodes: Tensor, u: Tensor) -> Tensor:
            pull_back = cast(Any, torch.func.vjp(self._at(nodes), y))[1]
            return cast(Tensor, pull_back(u)[0].detach())

        with sdpa_kernel(SDPBackend.MATH):
            return torch.cat(self.parts.map(part, y, nodes, u, cost=3))

    def _at(self, nodes: Tensor) -> Product:
        rows = torch.zeros_like(nodes)
        network = select(self.denoiser, rows)
        return lambda x: self.solver.output(network, x, nodes, torch.arange(len(x)).to(nodes))


def sampler_products(network: Derivatives, states: Tensor, count: int) -> tuple[Product, Product]:
    r"""Products of :math:`\partial y_n/\partial y_0` and its transpose with vectors ``[P, ...]``.

    .. math:: \dot y_{i+1} = a_i \dot y_i + \sum_{j \le i} b_{ij} J_j \dot y_j, \qquad
              \lambda_i = a_i \lambda_{i+1} + J_i^T \sum_{k \ge i} b_{ki} \lambda_{k+1}

    One node after the other, at the states of the run: no graph of the whole run is kept.

    Args:
        network: its derivatives.
        states: y_0 ... y_n, ``[n+1, 1, ...]``.
        count: vectors P.
    """
    solver, weights = network.solver, network.solver.b.tolist()

    def at(i: int) -> tuple[Tensor, Tensor]:
        y = states[i].repeat(count, *[1] * (states.ndim - 2))
        return y, torch.full((count,), i, device=y.device)

    def push(v: Tensor) -> Tensor:
        run = [*steps(solver, lambda y, i: network.push(*at(i), y), v)]
        return run[-1][2]

    def pull(u: Tensor) -> Tensor:
        after = [u]  # lambda_n, lambda_{n-1} ...
        for i in reversed(range(solver.steps)):
            terms = [weights[solver.steps - 1 - k][i] * v for k, v in enumerate(after)]
            back = network.pull(*at(i), torch.stack(terms).sum(0))
            after.append(solver.a[i].item() * after[-1] + back)
        return after[-1]

    return push, pull


def step_products(network: Derivatives, states: Tensor, count: int) -> tuple[Product, Product]:
    r"""Products of all steps :math:`a_i I + b_{ii} J_i` and their transposes, ``[P n, ...]``.

    Args:
        network: the derivatives of the network.
        states: y_0 ... y_n, ``[n+1, 1, ...]``.
        count: vectors P of every step.
    """
    solver = network.solver
    y = states[:-1, 0].repeat(count, *[1] * (states.ndim - 2))
    nodes = torch.arange(solver.steps, device=y.device).repeat(count)
    a, b = (w.to(y)[nodes].view(-1, *[1] * (y.ndim - 1)) for w in (solver.a, solver.b.diagonal()))
    return (
        lambda v: a * v + b * network.push(y, nodes, v),
        lambda u: a * u + network.pull(y, nodes, b * u),
    )


def rules(push: Product, pull: Product, v: Tensor, most: int) -> Iterator[Tensor]:
    r"""The Gauss rules :math:`\sum_k w_k^2 \log\theta_k` after 1, 2 ... Lanczos steps, ``[R]``.

    With full reorthogonalisation. A vector whose Krylov space is used up keeps its rule.

    Args:
        push: products with matrices, one a row.
        pull: those with their transposes.
        v: where to start, ``[R, ...]``.
        most: most steps.
    """
    shape = v.shape
    right = [v.flatten(1) / v.flatten(1).norm(dim=1, keepdim=True)]
    left: list[Tensor] = []
    matrix = torch.eye(most).to(v).repeat(len(v), 1, 1)
    alive = torch.ones(len(v), dtype=torch.bool, device=v.device)
    for k in range(most):
        u, size = orthogonal(push(right[-1].view(shape)).flatten(1), left)
        matrix[alive, k, k] = size[alive]
        left.append(u)
        yield gauss(matrix[:, : k + 1, : k + 1])
        if k + 1 < most:
            w, size = orthogonal(pull(u.view(shape)).flatten(1), right)
            alive = alive & (size > 1e-12 * matrix[:, : k + 1].abs().amax((1, 2)))
            matrix[alive, k, k + 1] = size[alive]
            right.append(w)


def orthogonal(x: Tensor, basis: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The direction of x without its parts along a basis, and its length."""
    for _ in range(2 if basis else 0):
        stacked = torch.stack(basis, 1)
        x = x - ((stacked @ x[:, :, None]).transpose(1, 2) @ stacked)[:, 0]
    size = x.norm(dim=1)
    return x / size.clamp(min=1e-300)[:, None], size


def gauss(matrix: Tensor) -> Tensor:
    r"""The Gauss rules of bidiagonal matrices ``[R, k, k]``, ``[R]``."""
    _, values, right = torch.linalg.svd(matrix)
    return (right[:, :, 0].square() * values.clamp(min=1e-300).log()).sum(1)
