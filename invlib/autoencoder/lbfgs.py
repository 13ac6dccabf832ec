"""L-BFGS for a batch: every sample has its own memory, step size and end.

Those of PyTorch and SciPy have one of each for a whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..watch import count, enter, observe
from ..words import Reason

GRADIENT = 3  # evaluations that a value and its gradient cost
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Minimum:
    """Where the search ended.

    Attributes:
        x: the best point of every sample, ``[B, ...]``.
        evaluations: evaluations of the objective that each sample paid for, ``[B]``.
        reason: ``converged``, ``stalled`` (no step reduces the objective), ``budget`` or
            ``interrupted``.
    """

    x: Tensor
    evaluations: Tensor
    reason: tuple[Reason, ...]


def lbfgs(
    objective: Objective, x: Tensor, *, iterations: int, memory: int = 20, trials: int = 6
) -> Minimum:
    r"""Minimise a function of every sample of a batch by L-BFGS with backtracking.

    .. math:: x \leftarrow x - \rho\,H\,\nabla f(x), \qquad
              f(x_{new}) \le f(x) - 10^{-4}\rho\,\nabla f(x)^\top H\,\nabla f(x)

    Args:
        objective: ``(x [k, ...], rows [k]) -> (value [k], gradient [k, D], finished [k])`` for
            the samples ``rows``.
        x: first points, ``[B, ...]``.
        iterations: most steps.
        memory: pairs that approximate the inverse Hessian H.
        trials: most step sizes tried, each a quarter of the one before.

    Source: Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 3.1.
    """
    rows = torch.arange(len(x), device=x.device)
    best = x.clone()
    reason: list[Reason] = ["budget"] * len(x)
    value, gradient, finished = objective(x, rows)
    count(dict.fromkeys(rows.tolist(), GRADIENT))
    evaluations = torch.ones(len(x), dtype=torch.long)
    first, sizes = value.clamp(min=1e-300), torch.ones_like(value)
    history = Memory(memory)
    for k in range(iterations):
        enter("decoder", k, iterations)
        direction = history.direction(gradient, value)
        slope = (direction * gradient).sum(1)
        new, new_value, new_gradient = x.clone(), value.clone(), gradient.clone()
        todo, size = (~finished).nonzero().flatten(), 1.0
        for _ in range(trials):
            if not len(todo):
                break
            trial = x[todo] + size * direction[todo].view_as(x[todo])
            v, g, done = objective(trial, rows[todo])
            evaluations[rows[todo].cpu()] += 1
            count(dict.fromkeys(rows[todo].tolist(), GRADIENT))
            good = v <= value[todo] + 1e-4 * size * slope[todo]
            at = todo[good]
            new[at], new_value[at], new_gradient[at] = trial[good], v[good], g[good]
            finished[at] = done[good]
            todo, size = todo[~good], size / 4
        history.push((new - x).flatten(1), new_gradient - gradient)
        x, value, gradient = new, new_value, new_gradient
        best[rows] = x
        stalled = torch.zeros_like(finished).index_fill(0, todo, True)
        reasons: dict[Reason, Tensor] = {"stalled": stalled, "converged": finished}
        for name, which in reasons.items():
            for row in rows[which].tolist():
                reason[row] = name
        go_on = (~finished & ~stalled).nonzero().flatten()
        sizes[rows] = (value / first[rows]).sqrt()
        why = observe(sizes, solved=reason.count("converged"))
        if why:
            for row in rows[go_on].tolist():
                reason[row] = why
        if why or not len(go_on):
            break
        if len(go_on) < len(x):
            x, value, gradient, finished, rows = (
                part[go_on] for part in (x, value, gradient, finished, rows)
            )
            history.keep(go_on)
    return Minimum(best, evaluations, tuple(reason))


@dataclass
class Memory:
    """Pairs of steps and gradient changes, each ``[B, D]``; the newest is the last.

    Attributes:
        size: most pairs.
        pairs: step, gradient change, and inverse of their product, 0 where it is not positive.
    """

    size: int
    pairs: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def push(self, step: Tensor, change: Tensor) -> None:
        """Add a pair; a sample without positive curvature in it adds nothing."""
        product = (step * change).sum(1, keepdim=True)
        good = product > 1e-14 * change.square().sum(1, keepdim=True)
        inverse = torch.where(good, 1 / product, 0.0)
        self.pairs = [*self.pairs, (step, change, inverse)][-self.size :]

    def keep(self, rows: Tensor) -> None:
        """Forget all samples but ``rows``."""
        self.pairs = [(s[rows], y[rows], i[rows]) for s, y, i in self.pairs]

    def direction(self, gradient: Tensor, value: Tensor) -> Tensor:
        """Minus the approximate inverse Hessian times the gradient (two-loop recursion).

        The first step has length 1, or that after which a parabola with minimum 0 would be at
        its minimum, if that is shorter.
        """
        q, weights = gradient, []
        size = gradient.norm(dim=1, keepdim=True).clamp(min=1e-300)
        scale = torch.minimum(1 / size, 2 * value.abs()[:, None] / size**2)
        for s, y, inverse in reversed(self.pairs):
            a = inverse * (s * q).sum(1, keepdim=True)
            q = q - a * y
            weights.append(a)
        for _, y, inverse in self.pairs:  # the newest usable pair sets the scale
            length = 1 / (inverse * y.square().sum(1, keepdim=True))
            scale = torch.where(inverse > 0, length, scale)
        q = scale * q
        for (s, y, inverse), a in zip(self.pairs, reversed(weights), strict=True):
            b = inverse * (y * q).sum(1, keepdim=True)
            q = q + (a - b) * s
        return -q
