r"""Root finders: solve r(x) = 0 for every sample of a batch on its own.

All have one signature, ``finder(residual, x, *, slope, tol, max_iterations)``, where
``residual(x, rows)`` is called on the samples ``rows`` that still need work, and ``slope`` is a
number that approximates the Jacobian of the residual. They keep the best iterate of every
sample and stop it when it has converged, stalled, diverged or used up its iterations, and all
when who watches (:mod:`invlib.watch`) says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from .shapes import column
from .watch import observe
from .words import Reason

Residual = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class ReverseMode(Protocol):
    """A residual that comes with its own reverse-mode derivative."""

    def vjp(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        """The residual and its product with the transposed Jacobian."""
        ...


@dataclass(frozen=True)
class Root:
    r"""Where a root finder ended, per sample.

    Attributes:
        x: best iterate, ``[B, ...]``.
        residual: its relative residual :math:`|r(x)| / \min(|x|, |x_0|)`, ``[B]``; the start
            :math:`x_0` guards against an iterate that runs away where r is bounded.
        iterations: iterations made, ``[B]``.
        reason: ``converged``, ``stalled``, ``diverged``, ``budget`` (its iterations, or the
            budget of a :class:`invlib.watch.Watch`, are used up) or ``interrupted`` (by Ctrl-C or
            a callback), one per sample.
    """

    x: Tensor
    residual: Tensor
    iterations: Tensor
    reason: tuple[Reason, ...]

    @property
    def converged(self) -> Tensor:
        """Which samples reached the tolerance, ``[B]``."""
        return torch.tensor([r == "converged" for r in self.reason])


class Finder(Protocol):
    """The signature that all root finders share."""

    def __call__(
        self,
        residual: Residual,
        x: Tensor,
        *,
        slope: float = ...,
        tol: float | Tensor = ...,
        max_iterations: int = ...,
    ) -> Root:
        """Solve ``residual(x, rows) = 0`` from ``x``."""
        ...


@dataclass
class Search:
    """The bookkeeping of an iteration: active samples, best iterates, reasons to stop.

    ``tol`` and ``goal`` are one number or ``[B]``. ``goal`` is the residual at which a sample
    counts as solved for who watches, if not ``tol``; ``since`` counts rounds without progress.
    All but the iterates is on the CPU, so that a round waits for a device once, for the residuals.
    """

    x: Tensor
    tol: float | Tensor
    max_iterations: int | Tensor
    patience: int
    goal: float | Tensor | None = None
    residual: Tensor = field(init=False)
    iterations: Tensor = field(init=False)
    reason: list[Reason] = field(init=False)
    rows: Tensor = field(init=False)
    since: Tensor = field(init=False)

    def __post_init__(self) -> None:
        batch = len(self.x)
        self._tol = torch.as_tensor(self.tol, dtype=torch.float64, device="cpu").expand(batch)
        goal = self._tol if self.goal is None else self.goal
        self._goal = torch.as_tensor(goal, dtype=torch.float64, device="cpu")
        self._most = torch.as_tensor(self.max_iterations, device="cpu").expand(batch)
        if not (self._tol > 0).all() or (self._most < 1).any() or self.patience < 1:
            raise ValueError("tol, max_iterations and patience must be positive")
        self.x = self.x.clone()
        self.rows = torch.arange(batch)
        self.residual = torch.full((batch,), math.inf, dtype=torch.float64)
        self.iterations = torch.zeros(batch, dtype=torch.long)
        self.reason = ["budget"] * batch
        self._scale = self.x.flatten(1).norm(dim=1).double()
        self._scale[self._scale == 0] = math.inf
        self._milestone = self.residual.clone()
        self.since = torch.zeros_like(self.rows)
        self._first = self.residual.clone()

    def observe(self, x: Tensor, r: Tensor) -> Tensor:
        """Record iterates ``x`` of the active rows and say which of them go on, ``[k]``."""
        rows = self.rows
        size = relative_size(r, x, self._scale[rows]).cpu()
        better = size < self.residual[rows]
        self.x[rows[better]] = x[better]
        self.residual[rows[better]] = size[better]
        self._first[rows] = torch.where(self._first[rows].isinf(), size, self._first[rows])
        progress = size < 0.9 * self._milestone[rows]
        self._milestone[rows] = torch.where(progress, size, self._milestone[rows])
        self.since[rows] = torch.where(progress, 0, self.since[rows] + 1)
        self.iterations[rows] += 1
        done: dict[Reason, Tensor] = {
            "converged": size <= self._tol[rows],
            "diverged": ~size.isfinite() | (size > 1e6 * self._first[rows]),
            "stalled": self.since[rows] >= self.patience,
            "budget": self.iterations[rows] >= self._most[rows],
        }
        go_on = torch.ones_like(better)
        for reason, mask in done.items():
            go_on = self.leave(go_on, mask, reason)
        why = observe(self.residual, self._goal)
        if why:
            self.stop(torch.ones_like(self.rows, dtype=torch.bool), why)
            go_on[:] = False
        return go_on

    def leave(self, go_on: Tensor, mask: Tensor, reason: Reason) -> Tensor:
        """Of this round's samples that ``go_on [k]``, end those in ``mask [k]``; who still does."""
        self.stop(mask[go_on], reason)
        return go_on & ~mask

    def stop(self, mask: Tensor, reason: Reason) -> None:
        """Take the active rows in ``mask [k]`` out of the search."""
        for row in self.rows[mask].tolist():
            self.reason[row] = reason
        self.rows = self.rows[~mask]

    def root(self) -> Root:
        """The result."""
        return Root(self.x, self.residual, self.iterations, tuple(self.reason))


def relative_size(r: Tensor, x: Tensor, cap: Tensor | None = None) -> Tensor:
    r""":math:`|r|/\min(|x|, cap)` per sample, float64; infinite where r or x is not finite."""
    scale = x.flatten(1).norm(dim=1).double()
    least = scale if cap is None else torch.minimum(scale, cap)
    size = r.flatten(1).norm(dim=1).double() / least.clamp(min=1e-300)
    return torch.where(scale.isfinite() & size.isfinite(), size, math.inf)


def fixed_point(
    residual: Residual,
    x: Tensor,
    *,
    slope: float = 1.0,
    tol: float | Tensor = 1e-12,
    max_iterations: int = 100,
    patience: int = 20,
) -> Root:
    r"""Fixed-point iteration :math:`x \leftarrow x - r(x)/s`.

    Converges if x - r(x)/s is a contraction. Source: Pan et al. (AIDI), ICCV 2023.
    """
    search = Search(x, tol, max_iterations, patience)
    while len(search.rows):
        r = residual(x, search.rows)
        go_on = search.observe(x, r)
        x = (x - r / slope)[go_on]
    return search.root()


def forward_step_method(
    residual: Residual,
    x: Tensor,
    *,
    slope: float = 1.0,
    tol: float | Tensor | None = None,
    threshold: float = 1e-3,
    max_iterations: int = 500,
    rho: float = 0.5,
    warm_up: int = 20,
    plateau: int | None = 20,
) -> Root:
    r"""The paper's forward step method :math:`x \leftarrow x - \rho\,r(x)`, without gradients.

    Step sizes and stopping are those of the authors' code, but for every sample on its own: the
    step grows over ``warm_up`` iterations and then halves whenever :math:`|r|^2` has not fallen
    by 1e-4 of itself for ``plateau`` iterations. Theirs returns the last iterate, this one the
    best. The method makes no use of ``slope``.

    Args:
        residual: the equations.
        x: start, ``[B, ...]``.
        slope: not used.
        tol: relative residual at which a sample is solved. By default it is solved as in the
            authors' code, where the sum of squares is below the threshold, whatever the size of
            the state: on their 4 x 64 x 64 latents of unit size that is a ``tol`` of 2.5e-4, on
            4 x 16 x 16 of 1e-3.
        threshold: sum of squares :math:`|r|^2` at which a sample is solved without ``tol``.
        max_iterations: most iterations.
        rho: step size.
        warm_up: iterations over which the step grows to ``rho``.
        plateau: iterations without progress before the step halves; None keeps it.

    Source: Hong et al., CVPR 2024; convergence for cocoercive r: Ryu and Yin, 2022.
    """
    largest = x.flatten(1).norm(dim=1).max().item()
    goal = math.sqrt(threshold) / max(largest, 1e-300) if tol is None else tol
    search = Search(x, 5e-324 if tol is None else tol, max_iterations, max_iterations, goal=goal)
    step = torch.full((len(x),), rho, dtype=x.dtype, device=x.device)
    best = torch.full_like(step, math.inf)
    bad = torch.zeros_like(step, dtype=torch.long)
    k = 0
    while len(search.rows):
        r = residual(x, search.rows)
        loss = r.flatten(1).square().sum(1)
        go_on = search.observe(x, r)
        if tol is None:
            go_on = search.leave(go_on, (loss < threshold).cpu(), "converged")
        now = step * min(1.0, (k + 1) / max(warm_up, 1))
        x = (x - column(now, x) * r)[go_on]
        if plateau is not None:
            improved = loss < best * (1 - 1e-4)
            best = torch.where(improved, loss, best)
            bad = torch.where(improved, 0, bad + 1)
            step = torch.where(bad > plateau, step / 2, step)
            bad = torch.where(bad > plateau, 0, bad)
        step, best, bad, k = step[go_on], best[go_on], bad[go_on], k + 1
    return search.root()


def gradient_descent(
    residual: Residual,
    x: Tensor,
    *,
    slope: float = 1.0,
    tol: float | Tensor = 2.5e-4,
    max_iterations: int = 100,
    rho: float = 0.05,
) -> Root:
    r"""The paper's gradient descent :math:`x \leftarrow x - \rho\nabla_x \|r(x)\|^2`.

    Needs back-propagation through the network; makes no use of ``slope``.
    """
    search = Search(x, tol, max_iterations, patience=max_iterations)
    while len(search.rows):
        rows = search.rows
        if isinstance(residual, ReverseMode):
            r, pull_back = residual.vjp(x, rows)
        else:
            r, pull_back = cast(Any, torch.func.vjp(lambda y, rows=rows: residual(y, rows), x))
        go_on = search.observe(x, r)
        x = (x - 2 * rho * pull_back(r)[0].detach())[go_on].detach()
    return search.root()


def anderson(
    residual: Residual,
    x: Tensor,
    *,
    slope: float = 1.0,
    tol: float | Tensor = 1e-12,
    max_iterations: int = 100,
    patience: int = 25,
    memory: int = 5,
) -> Root:
    r"""Anderson acceleration of :math:`x \leftarrow x - r(x)/s`, with each sample's own weights.

    .. math:: \gamma = \arg\min\|r_k - \Delta R\,\gamma\|, \quad
              x_{k+1} = x_k - r_k/s - (\Delta X - \Delta R/s)\,\gamma

    Source: Walker and Ni, SIAM J. Numer. Anal. 2011.

    Example:
        The number that is its own cosine:

        >>> found = anderson(lambda x, rows: x - x.cos(), torch.ones(1, 1, dtype=torch.float64))
        >>> found.reason, round(found.x.item(), 9)
        (('converged',), 0.739085133)
    """
    search = Search(x, tol, max_iterations, patience)
    xs: list[Tensor] = []
    rs: list[Tensor] = []
    while len(search.rows):
        r = residual(x, search.rows) / slope
        go_on = search.observe(x, r * slope)
        xs, rs = [*xs, x.flatten(1)][-memory - 1 :], [*rs, r.flatten(1)][-memory - 1 :]
        if not go_on.all():
            xs, rs = [v[go_on] for v in xs], [v[go_on] for v in rs]
            x, r = x[go_on], r[go_on]
        if len(x):
            x = (x.flatten(1) - _accelerated(xs, rs)).view_as(x)
    return search.root()


def _accelerated(xs: list[Tensor], rs: list[Tensor]) -> Tensor:
    """The Anderson step to subtract, ``[k, D]``, from histories of x and r."""
    if len(rs) == 1:
        return rs[-1]
    dr = torch.stack([b - a for a, b in zip(rs, rs[1:], strict=False)], 2)
    dx = torch.stack([b - a for a, b in zip(xs, xs[1:], strict=False)], 2)
    size = dr.norm(dim=1, keepdim=True).clamp(min=1e-300)
    q, upper = torch.linalg.qr(dr / size)
    projected = q.transpose(1, 2) @ rs[-1][:, :, None]
    gamma = torch.linalg.pinv(upper, rtol=1e-12) @ projected / size.transpose(1, 2)
    return rs[-1] + ((dx - dr) @ gamma)[:, :, 0]
