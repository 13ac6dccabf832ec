"""Inverting a first-order sampler step by step: the paper's Algorithm 1, and ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ..denoisers import Denoiser, Prediction, convert
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..precision import Roundoff, roundoff, step_tolerance
from ..rootfind import Finder, Root, anderson, forward_step_method
from ..solvers import Solver
from ..watch import enter, stopped
from .naive import straight, walk
from .starts import random_states

Start = Literal["naive", "extrapolated", "still"]


@torch.no_grad()
def algorithm1(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    finder: Finder = forward_step_method,
    tol: float | None = None,
) -> Inversion:
    r"""Algorithm 1: backward Euler, each step solved from the naive start.

    .. math:: \text{find } x_i:\quad r(x_i) = a_i x_i + b_{ii}\,m(x_i, t_i) - x_{i+1} = 0

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a first-order solver (every step uses the newest output only).
        finder: root finder; the paper's forward step method by default.
        tol: relative residual at which a step is solved; by default the finder's own rule, which
            for the forward step method is the authors': an absolute sum of squares.

    Raises:
        ValueError: if a step uses older outputs.
    """
    return by_steps(denoiser, image, solver, finder, tol, "naive", "algorithm1")


@torch.no_grad()
def stepwise(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    finder: Finder = anderson,
    tol: float | None = None,
    max_batch: int | None = None,
) -> Inversion:
    """Exact step-by-step inversion: Anderson from an extrapolated start, to round-off.

    The start of each step extrapolates, linearly in lambda, the noise predictions at the states
    that are already found, which costs no evaluation. Arguments as :func:`algorithm1`; ``tol`` is
    :func:`invlib.precision.step_tolerance` of the measured round-off by default.
    """
    evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
    precision, goal = None, cast(float | Tensor | None, tol)
    if tol is None:
        precision = _precision(evaluator, image)
        goal = step_tolerance(precision.outputs)
    found = by_steps(
        denoiser, image, solver, finder, goal, "extrapolated", "stepwise", evaluator.max_batch
    )
    return replace(found, nfe=found.nfe + evaluator.nfe, roundoff=precision)


def by_steps(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    finder: Finder,
    tol: float | Tensor | None,
    start: Start | Tensor,
    method: str,
    max_batch: int | None = None,
) -> Inversion:
    """Solve one step after the other, from the image on, with a root finder.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a first-order solver.
        finder: root finder.
        tol: relative residual at which a step is solved, one number or ``[B, N]``; None leaves it
            to the finder.
        start: where a step begins: at a naive step, with the noise of the steps before
            extrapolated, ``still`` at the state that it leads to, or at given states
            ``[N, B, ...]``.
        method: name of the method.
        max_batch: most states in one network call.
    """
    if not solver.order_one:
        raise ValueError(
            f"{solver.name} uses older network outputs, so it cannot be inverted step by step; "
            "use algorithm2 (approximate) or whole_trajectory (exact)"
        )
    evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
    rows = torch.arange(len(image), device=image.device)
    states, roots = [image], list[Root]()
    noises: list[Tensor] = []
    for k, i in enumerate(reversed(range(solver.steps))):
        if roots and stopped():
            break
        enter(method, k, solver.steps)
        target = states[-1]
        step = StepProblem(evaluator, i, target)
        if isinstance(start, Tensor):
            begin = start[i]
        elif start == "still":
            begin = target
        elif start == "extrapolated" and noises:
            begin = step.solve_linear(_extrapolated(solver, i, noises))
        else:
            begin = walk(evaluator, target, i + 1, i, 1, rows)
        goal = tol[:, i] if isinstance(tol, Tensor) else tol
        solve = finder if goal is None else partial(finder, tol=goal)
        root = solve(step, begin, slope=step.slope)
        states.append(root.x)
        noises.append(step.noise(root.x))
        roots.append(root)
    return collect(states, roots, evaluator, method)


def _precision(evaluator: Evaluator, image: Tensor) -> Roundoff:
    """The round-off of the network, measured where the image is noised at random."""
    noised = random_states(image, evaluator.solver, 0)[:-1].transpose(0, 1)
    rows = torch.arange(len(image), device=image.device)
    return roundoff(evaluator, noised, rows, nodes=2)


@torch.no_grad()
def step_goal(denoiser: Denoiser, image: Tensor, solver: Solver) -> tuple[float, Tensor]:
    """The tolerance of a step as :func:`stepwise` takes it, the largest of all, and its cost."""
    evaluator, image = Evaluator.start(denoiser, image, solver)
    return step_tolerance(_precision(evaluator, image).outputs).max().item(), evaluator.nfe


def solved_to(denoiser: Denoiser, image: Tensor, solver: Solver) -> float:
    """The tolerance of a step as :func:`stepwise` takes it, the largest of all."""
    return step_goal(denoiser, image, solver)[0]


class StepProblem:
    r"""The equation of one step, :math:`r(x) = a x + b\,m(x) + c - x_{i+1}`, c known."""

    def __init__(
        self,
        evaluator: Evaluator,
        i: int,
        target: Tensor,
        *,
        b: float | None = None,
        c: Tensor | None = None,
    ) -> None:
        solver = evaluator.solver
        self.evaluator, self.i = evaluator, i
        self.a = solver.a[i].item()
        self.b = solver.b[i, i].item() if b is None else b
        self.target = target if c is None else target - c
        alpha, sigma = solver.alpha[i].item(), solver.sigma[i].item()
        part = {  # output = part * x + (...) * noise
            "epsilon": 0.0,
            "sample": 1 / alpha if alpha else 0.0,
            "v_prediction": -sigma / alpha if alpha else 0.0,
            "flow": -1 / alpha if alpha else 0.0,
        }[solver.prediction]
        self.slope = self.a + self.b * part

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        """The residual at states ``x [k, ...]`` of samples ``rows [k]``."""
        m = self.evaluator.output(x, self.i, rows)
        return self.a * x + self.b * m - self.target[rows]

    def jvp(self, x: Tensor, v: Tensor, rows: Tensor) -> Tensor:
        """Jacobian-vector product of the residual."""
        return self.evaluator.jvp(lambda y: self(y, rows), x, v)

    def vjp(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        """The residual and its reverse-mode derivative."""
        with self.evaluator.derivative(3):
            return cast(Any, torch.func.vjp(lambda y: self(y, rows), x))

    def noise(self, x: Tensor) -> Tensor:
        """The noise prediction at a solved state, from the step's own equation: no evaluation."""
        if not self.b:
            return torch.zeros_like(x)
        m = (self.target - self.a * x) / self.b
        return self._convert(m, x, self.evaluator.solver.prediction, "epsilon")

    def solve_linear(self, noise: Tensor) -> Tensor:
        """The state that solves the step if the noise prediction there is ``noise``."""
        zero = torch.zeros_like(noise)
        if self.evaluator.solver.alpha[self.i] == 0:  # the state is noise alone
            return self.evaluator.solver.sigma[self.i].item() * noise
        m = self._convert(noise, zero, "epsilon", self.evaluator.solver.prediction)
        return (self.target - self.b * m) / self.slope

    def _convert(self, m: Tensor, x: Tensor, source: Prediction, target: Prediction) -> Tensor:
        solver = self.evaluator.solver
        alpha, sigma = (v[self.i].to(x).expand(len(x)) for v in (solver.alpha, solver.sigma))
        return convert(m, x, alpha, sigma, source, target)


def _extrapolated(solver: Solver, i: int, noises: list[Tensor]) -> Tensor:
    """The noise at node i, extrapolated linearly in lambda from nodes i+1 and i+2."""
    if len(noises) == 1 or solver.alpha[i] == 0:
        return noises[-1]
    log_snr = (solver.alpha / solver.sigma).log()
    ratio = (log_snr[i] - log_snr[i + 1]) / (log_snr[i + 1] - log_snr[i + 2])
    return noises[-1] + ratio.item() * (noises[-1] - noises[-2])


def collect(
    states: list[Tensor], roots: list[Root], evaluator: Evaluator, method: str
) -> Inversion:
    """Gather the roots of the steps, the noisiest last, into one result.

    Where a watch has ended the search before the last step, the other states are
    :func:`~invlib.inverters.naive.straight` on from those that were found.
    """
    left = evaluator.solver.steps - len(roots)
    why = [stopped() or "budget"] * bool(left)
    worst = ("diverged", "stalled", "interrupted", "budget", "converged")
    per_sample = zip(*[root.reason for root in roots], strict=True)
    reason = tuple(next(r for r in worst if r in (*reasons, *why)) for reasons in per_sample)
    states = straight(evaluator.solver, states)
    unknown = torch.full((len(states[0]), left), torch.nan, dtype=torch.float64)
    found = torch.stack([root.residual.cpu() for root in roots[::-1]], 1)
    return Inversion(
        noise=states[-1] / evaluator.solver.scale,
        states=torch.stack(states[::-1]),
        residuals=torch.cat([unknown, found], 1),
        iterations=torch.stack([root.iterations for root in roots]).sum(0),
        nfe=evaluator.nfe,
        reason=reason,
        method=method,
    )
