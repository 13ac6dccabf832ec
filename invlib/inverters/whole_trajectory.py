"""All equations of a sampler solved at once: exact inversion of any deterministic solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ..denoisers import Denoiser, select
from ..evaluator import Evaluator
from ..inversion import Inversion, retry
from ..newton import newton_krylov
from ..precision import roundoff
from ..rootfind import Finder, anderson, relative_size
from ..solvers import Solver
from ..watch import enter
from .naive import naive
from .trajectory import along_time, equation_sizes, gaussian_matrix, outputs, residual

whole_anderson: Finder = partial(anderson, memory=16, max_iterations=150, patience=30)


@torch.no_grad()
def whole_trajectory(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    start: Tensor | None = None,
    finder: Finder = whole_anderson,
    finish: Finder | None = newton_krylov,
    tol: float | None = None,
    max_batch: int | None = None,
    variance: float = 0.5,
) -> Inversion:
    r"""Solve the N equations of a trajectory together, with the image fixed.

    .. math:: R_i = y_{i+1} - a_i y_i - \sum_{j\le i} b_{ij}\,m(y_j, t_j) = 0,
              \quad i = 0 \dots N-1

    A round evaluates the N outputs, which do not depend on each other, in one batched call. The
    residual is preconditioned with the inverse of the N x N matrix that the same recursion has
    for Gaussian data, where the derivative of m is a known number.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table.
        start: states y_0 ... y_n to start from, ``[n+1, B, ...]``; by default naive inversion on
            the solver's own time points, which stays nearer to a few-step sampler than a finer
            walk does: the finer one follows the differential equation instead.
        finder: root finder for the whole system.
        finish: finder for the samples that the first one leaves unsolved, or None.
        tol: relative residual at which a sample is done; by default twice what the round-off
            of the network makes, measured.
        max_batch: most states in one network call.
        variance: variance of the Gaussian data; only the number of rounds depends on it.
    """
    cost = torch.zeros(len(image), dtype=torch.long)
    if start is None:
        rough = naive(denoiser, image, solver, max_batch=max_batch)
        start, cost = rough.states, rough.nfe
    precision, least = None, image.new_full((len(image),), tol or 0.0)
    if tol is None:
        evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
        every = torch.arange(len(image), device=image.device)
        precision = roundoff(evaluator, start[:-1].transpose(0, 1), every)
        cost = cost + evaluator.nfe
        least = 2 * precision.equations

    def solve(rows: Tensor, start: Tensor, finder: Finder) -> Inversion:
        evaluator, target = Evaluator.start(
            select(denoiser, rows), image[rows], solver, max_batch=max_batch
        )
        begin = start[:-1].transpose(0, 1).contiguous()
        problem = TrajectoryProblem(evaluator, target, begin, variance)
        enter("whole_trajectory")
        root = finder(problem, begin, tol=least[rows])
        states = torch.cat([root.x.transpose(0, 1), target[None]])
        return Inversion(
            noise=states[0] / solver.scale,
            states=states,
            residuals=problem.sizes,
            iterations=root.iterations,
            nfe=evaluator.nfe,
            reason=root.reason,
            method="whole_trajectory",
        )

    result = solve(torch.arange(len(image), device=image.device), start, finder)
    result = replace(result, nfe=result.nfe + cost, roundoff=precision)
    if finish is None:
        return result
    return retry(result, lambda rows: solve(rows, result.states[:, rows], finish))


def whole_trajectory_finer_start(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, max_batch: int | None = None
) -> Inversion:
    """:func:`whole_trajectory` from another start, a naive walk in ten times as many steps.

    If it ends at another noise than the first, both make the image; see
    :func:`invlib.certify`.
    """
    rough = naive(denoiser, image, solver, steps=10 * solver.steps, max_batch=max_batch)
    result = whole_trajectory(denoiser, image, solver, start=rough.states, max_batch=max_batch)
    return replace(result, nfe=result.nfe + rough.nfe)


@dataclass
class TrajectoryProblem:
    r"""The preconditioned residual :math:`T^{-1} R` of a whole trajectory.

    Attributes:
        evaluator: network, solver and count.
        image: the fixed last states, ``[B, ...]``.
        start: the other states at the start, ``[B, N, ...]``.
        variance: variance of the Gaussian data of the preconditioner.
        sizes: relative residuals of the N equations at the best states so far, ``[B, N]``.
    """

    evaluator: Evaluator
    image: Tensor
    start: Tensor
    variance: float
    sizes: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.inverse = torch.linalg.inv(gaussian_matrix(self.evaluator.solver, self.variance))
        self.sizes = torch.full((len(self.image), self.evaluator.solver.steps), torch.inf).double()
        self._best = torch.full((len(self.image),), torch.inf, dtype=self.image.dtype)
        self._cap = self.start.flatten(1).norm(dim=1)

    def __call__(self, y: Tensor, rows: Tensor) -> Tensor:
        """Residual at states ``y [k, N, ...]`` of samples ``rows``; keeps the equations' sizes."""
        return self._precondition(y, self.residual(y, rows), rows)

    def residual(self, y: Tensor, rows: Tensor) -> Tensor:
        """The plain residual R, ``[k, N, ...]``."""
        m = outputs(self.evaluator, y, rows)
        return residual(self.evaluator.solver, self.image[rows], y, m)

    def jvp(self, y: Tensor, v: Tensor, rows: Tensor) -> Tensor:
        """Jacobian-vector product of the preconditioned residual."""
        product = self.evaluator.jvp(lambda x: self.residual(x, rows), y, v)
        return along_time(self.inverse, product)

    def vjp(self, y: Tensor, rows: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        """The preconditioned residual and its reverse-mode derivative."""
        with self.evaluator.derivative(3):
            r, pull_back = cast(Any, torch.func.vjp(lambda x: self.residual(x, rows), y))
        r = self._precondition(y, r, rows)
        return r, lambda v: pull_back(along_time(self.inverse.T, v))

    def _precondition(self, y: Tensor, r: Tensor, rows: Tensor) -> Tensor:
        """The preconditioned r; where it is the smallest so far, as root finders see it, keep r."""
        sizes = equation_sizes(self.image[rows], y, r)
        r = along_time(self.inverse, r)
        size, sizes, rows = relative_size(r, y, self._cap[rows]).cpu(), sizes.cpu(), rows.cpu()
        better = size < self._best[rows]
        self._best[rows[better]] = size[better]
        self.sizes[rows[better]] = sizes[better]
        return r
