"""All equations of a sampler solved at once: exact inversion of any deterministic solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ..denoisers import Denoiser, select
from ..inversion import Inversion, Tally, floor, merge
from ..newton import newton_krylov
from ..rootfind import Finder, anderson, relative_size
from ..solvers import Solver
from .naive import naive

whole_anderson: Finder = partial(anderson, memory=16, max_iterations=150, patience=30)


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
        start: states y_0 ... y_n to start from, ``[n+1, B, ...]``; a fine naive walk by default.
        finder: root finder for the whole system.
        finish: finder for the samples that the first one leaves unsolved, or None.
        tol: relative residual at which a sample is done; round-off of the network by default.
        max_batch: most states in one network call.
    """
    tol = floor(denoiser) if tol is None else tol
    cost = None
    if start is None:
        rough = naive(denoiser, image, solver, steps=10 * solver.steps)
        start, cost = rough.states, rough.nfe
    result = _solve(denoiser, image, solver, start, finder, tol, max_batch)
    if cost is not None:
        result = replace(result, nfe=result.nfe + cost)
    unsolved = (~result.converged).nonzero().flatten().tolist()
    if finish is None or not unsolved:
        return result
    rows = torch.tensor(unsolved, device=image.device)
    finished = _solve(
        select(denoiser, rows), image[rows], solver, result.states[:, rows], finish, tol, max_batch
    )
    return merge(result, finished, unsolved)


def _solve(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    start: Tensor,
    finder: Finder,
    tol: float,
    max_batch: int | None,
) -> Inversion:
    tally, image = Tally.start(denoiser, image, solver, max_batch=max_batch)
    problem = TrajectoryProblem(tally, image, _data_variance(solver, image))
    root = finder(problem, start[:-1].transpose(0, 1).contiguous(), tol=tol)
    states = torch.cat([root.x.transpose(0, 1), image[None]])
    return Inversion(
        noise=states[0] / solver.scale,
        states=states,
        residuals=problem.sizes,
        iterations=root.iterations,
        nfe=tally.nfe,
        reason=root.reason,
        method="whole_trajectory",
    )


@dataclass
class TrajectoryProblem:
    r"""The preconditioned residual :math:`T^{-1} R` of a whole trajectory.

    Attributes:
        tally: network, solver and count.
        image: the fixed last states, ``[B, ...]``.
        variance: variance of the Gaussian data of the preconditioner.
    """

    tally: Tally
    image: Tensor
    variance: float

    def __post_init__(self) -> None:
        self.inverse = torch.linalg.inv(gaussian_matrix(self.tally.solver, self.variance))
        self.sizes = torch.full((len(self.image), self.tally.solver.steps), torch.inf).double()

    def __call__(self, y: Tensor, rows: Tensor) -> Tensor:
        """Residual at states ``y [k, N, ...]`` of samples ``rows``; keeps the equations' sizes."""
        r = self.residual(y, rows)
        self._record(y, r, rows)
        return _apply(self.inverse, r)

    def residual(self, y: Tensor, rows: Tensor) -> Tensor:
        """The plain residual R, ``[k, N, ...]``."""
        solver = self.tally.solver
        k, n = y.shape[:2]
        nodes = torch.arange(n, device=y.device).repeat(k)
        m = self.tally.output(y.flatten(0, 1), nodes, rows.repeat_interleave(n)).view_as(y)
        after = torch.cat([y[:, 1:], self.image[rows][:, None]], 1)
        weights = solver.a.to(y).view(1, n, *[1] * (y.ndim - 2))
        return after - weights * y - _apply(solver.b, m)

    def jvp(self, y: Tensor, v: Tensor, rows: Tensor) -> Tensor:
        """Jacobian-vector product of the preconditioned residual."""
        product = self.tally.jvp(lambda x: self.residual(x, rows), y, v)
        return _apply(self.inverse, product)

    def _record(self, y: Tensor, r: Tensor, rows: Tensor) -> None:
        after = torch.cat([y[:, 1:], self.image[rows][:, None]], 1)
        size = relative_size(r.flatten(0, 1), after.flatten(0, 1)).view(y.shape[:2])
        better = size.amax(1) < self.sizes.to(size)[rows].amax(1)
        self.sizes[rows[better].cpu()] = size[better].cpu()


def gaussian_matrix(solver: Solver, variance: float) -> Tensor:
    r"""The N x N matrix of the trajectory equations for Gaussian data of the given variance.

    The derivative of the network's output with respect to its state is then a number, for
    data prediction :math:`\alpha s^2/(\alpha^2 s^2+\sigma^2)`.
    """
    alpha, sigma = solver.alpha[:-1], solver.sigma[:-1]
    total = alpha**2 * variance + sigma**2
    derivative = {
        "epsilon": sigma / total,
        "sample": alpha * variance / total,
        "v_prediction": alpha * sigma * (1 - variance) / total,
        "flow": (sigma - alpha * variance) / total,
    }[solver.prediction]
    return (
        torch.diag(torch.ones(solver.steps - 1, dtype=torch.float64), 1)
        - torch.diag(solver.a)
        - solver.b * derivative
    )


def _data_variance(solver: Solver, image: Tensor) -> float:
    """Variance of the data, estimated from the images themselves."""
    spread = image.var(dim=0).mean() if len(image) > 7 else image.square().mean()
    return max((spread.item() - solver.sigma[-1].item() ** 2) / solver.alpha[-1].item() ** 2, 1e-3)


def _apply(matrix: Tensor, states: Tensor) -> Tensor:
    """Multiply the time axis of ``states [k, N, ...]`` by ``matrix [N, N]``."""
    return torch.einsum("ij,bj...->bi...", matrix.to(states), states)
