"""Levenberg and Marquardt's method with both derivatives of the network, per sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from ...inverters.whole_trajectory import TrajectoryProblem
from ...rootfind import Residual, Root, Search
from ...shapes import column

Product = Callable[[Tensor], Tensor]


def levenberg_marquardt(
    residual: Residual,
    x: Tensor,
    *,
    slope: float = 1.0,
    tol: float | Tensor = 1e-12,
    max_iterations: int = 6,
    inner: int = 10,
    damping: float = 1e-2,
) -> Root:
    r"""Minimise :math:`|r|^2` by steps inside a trust region.

    .. math:: (J^T J + \mu I)\,d = -J^T r

    The number :math:`\mu` stands for the region's radius: it falls by 4 where the residual fell
    nearly as far as its linear model, and grows by 4 where it did not. The system is solved by
    conjugate gradients, with forward- and reverse-mode products.

    Args:
        residual: a :class:`TrajectoryProblem`; the method makes no use of ``slope``.
        x: starting point, ``[B, ...]``.
        slope: of the common signature of root finders.
        tol: relative residual at which a sample is done.
        max_iterations: steps, rejected ones included.
        inner: conjugate-gradient iterations a step.
        damping: the first :math:`\mu`.
    """
    problem = cast(TrajectoryProblem, residual)
    search = Search(x, tol, max_iterations, patience=max_iterations)
    mu = torch.full((len(x),), damping).to(x)
    while len(search.rows):
        rows = search.rows
        r, pull_back = problem.vjp(x, rows)
        go_on = search.observe(x, r)

        def forward(v: Tensor, x: Tensor = x, rows: Tensor = rows) -> Tensor:
            return problem.jvp(x, v.view_as(x), rows).flatten(1)

        def backward(
            v: Tensor, pull_back: Callable = pull_back, like: Tensor = r, rows: Tensor = rows
        ) -> Tensor:
            with problem.tally.derivative(2):  # vjp has paid for the forward pass only once
                problem.tally.count(rows.repeat_interleave(like.shape[1]))
            return pull_back(v.view_as(like))[0].flatten(1)

        step, change = damped_step(forward, backward, r.flatten(1), mu, inner)
        trial = x + step.view_as(x)
        before = r.flatten(1).square().sum(1)
        after = problem(trial, rows).flatten(1).square().sum(1).nan_to_num(nan=math.inf)
        model = (r.flatten(1) + change).square().sum(1)
        gain = (before - after) / (before - model).clamp(min=1e-300)
        x = torch.where(column(gain > 1e-3, x), trial, x)
        mu = torch.where(gain > 0.75, mu / 4, torch.where(gain < 0.25, mu * 4, mu))
        x, mu = x[go_on], mu[go_on]
    return search.root()


def damped_step(
    forward: Product, backward: Product, r: Tensor, mu: Tensor, inner: int
) -> tuple[Tensor, Tensor]:
    """Conjugate gradients on the damped normal equations; the step d and J d, ``[k, D]`` each."""
    gradient = backward(-r)
    d, change = torch.zeros_like(gradient), torch.zeros_like(r)
    p, size = gradient, gradient.square().sum(1)
    for _ in range(inner):
        q = forward(p)
        curvature = q.square().sum(1) + mu * p.square().sum(1)
        length = (size / curvature.clamp(min=1e-300))[:, None]
        d, change = d + length * p, change + length * q
        gradient = gradient - length * (backward(q) + mu[:, None] * p)
        last, size = size, gradient.square().sum(1)
        p = gradient + (size / last.clamp(min=1e-300))[:, None] * p
    return d, change
