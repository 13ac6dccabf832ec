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

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoisers import jvp_cost, select
from ..derivatives import BATCH, Derivatives, Product, sampler_products
from ..watch import count, enter, observe, samples
from .problem import Problem
from .result import Determinant


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

    def __call__(self, problem: Problem, rows: Tensor, states: Tensor) -> tuple[Determinant, ...]:
        """The determinants of samples ``rows [R]`` at states ``[n+1, R, ...]``, one each.

        As many at a time as fit into one call of the network. Where a watch ends it, each is what
        is known by then, with an error that says so.

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
        each = self.vectors * (solver.steps if solver.order_one else 1)
        draw = torch.Generator().manual_seed(self.seed)
        v = (2.0 * torch.randint(0, 2, (each, size), generator=draw) - 1).to(states)
        found: list[Determinant] = []
        for some in torch.arange(len(rows)).split(max(1, most // each)):
            with samples(rows[some].tolist()):
                network = Derivatives(select(problem.denoiser, rows[some]), solver, most)
                found += self._together(network, states[:, some], v)
        return tuple(found)

    def _together(self, network: Derivatives, states: Tensor, v: Tensor) -> list[Determinant]:
        """The determinants of all samples of a network, with the vectors ``v [P or P n, D]``."""
        solver, number, size = network.solver, states.shape[1], v.shape[1]
        products = step_products if solver.order_one else sampler_products
        start = v.repeat_interleave(number, 0).view(-1, *states.shape[2:])
        push = self.vectors * solver.steps * jvp_cost(network.denoiser)
        enter("determinant")
        totals: list[Tensor] = []  # [P, R] after each step
        cost = 0
        for rule in rules(*products(network, states, self.vectors), start, min(self.steps, size)):
            more = push + (3 * self.vectors * solver.steps if totals else 0)
            totals.append(size * rule.view(self.vectors, -1, number).sum(1))
            cost += more
            count(dict.fromkeys(range(number), more))
            gaps = [0.0] * number if len(totals) == size else truncations(totals)
            if observe(torch.tensor([torch.inf])) or max(gaps) < self.tol:
                break
        return [
            Determinant(last.mean().item(), last.cpu(), gap, cost)
            for last, gap in zip(totals[-1].T, gaps, strict=True)
        ]


def truncations(totals: list[Tensor]) -> list[float]:
    r"""How far the last mean is from its limit, if its changes go on falling as they did.

    .. math:: |\delta_k| \max\Bigl(1, \frac{\rho}{1-\rho}\Bigr), \qquad
              \rho = \min(\delta_k/\delta_{k-1}, .95)

    Args:
        totals: the values of all vectors and samples after 1, 2, ... k steps, ``[P, R]`` each; with
            less than three of them nothing is known.

    Returns:
        One number a sample.
    """
    if len(totals) < 3:
        return [torch.inf] * totals[-1].shape[1]
    first, second, last = (t.mean(0) for t in totals[-3:])
    gaps = zip((second - first).abs().tolist(), (last - second).abs().tolist(), strict=True)
    found = []
    for before, now in gaps:
        ratio = min(now / before, 0.95) if before else 0.0
        found.append(now * max(1.0, ratio / (1 - ratio)))
    return found


def step_products(network: Derivatives, states: Tensor, count: int) -> tuple[Product, Product]:
    r"""Products of all steps :math:`a_i I + b_{ii} J_i` and their transposes, ``[P n R, ...]``.

    Args:
        network: the derivatives of the network.
        states: y_0 ... y_n, ``[n+1, R, ...]``.
        count: vectors P of every step.
    """
    solver, number = network.solver, states.shape[1]
    y = states[:-1].flatten(0, 1).repeat(count, *[1] * (states.ndim - 2))
    nodes = torch.arange(solver.steps, device=y.device).repeat_interleave(number).repeat(count)
    rows = torch.arange(number, device=y.device).repeat(solver.steps * count)
    at = y, nodes, rows
    a, b = (w.to(y)[nodes].view(-1, *[1] * (y.ndim - 1)) for w in (solver.a, solver.b.diagonal()))
    return (
        lambda v: a * v + b * network.push(*at, v),
        lambda u: a * u + network.pull(*at, b * u),
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
