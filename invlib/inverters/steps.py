"""What goes step by step, from the image to the noise: the equation of a step, and the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ..denoisers import Prediction, convert
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..rootfind import Root
from ..watch import enter, stopped
from ..words import Reason
from .naive import straight


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


def solve_backwards(
    evaluator: Evaluator, image: Tensor, solve: Callable[[int, Tensor], Root], method: str
) -> Inversion:
    """Solve one step after the other, from the image to the noise.

    Args:
        evaluator: network, solver and count.
        image: image, ``[B, ...]``.
        solve: finds the state before step i, ``(i, state after it) -> root``.
        method: name of the method.

    Returns:
        An :class:`~invlib.inversion.Inversion`. Where a watch ends the search before the last
        step, the other states are :func:`~invlib.inverters.naive.straight` on from those found.
    """
    states, roots = [image], list[Root]()
    for k, i in enumerate(reversed(range(evaluator.solver.steps))):
        if roots and stopped():
            break
        enter(method, k, evaluator.solver.steps)
        roots.append(solve(i, states[-1]))
        states.append(roots[-1].x)
    return _collect(states, roots, evaluator, method)


def _collect(
    states: list[Tensor], roots: list[Root], evaluator: Evaluator, method: str
) -> Inversion:
    """The roots of the steps, the noisiest last, as one result."""
    left = evaluator.solver.steps - len(roots)
    why = [stopped() or "budget"] * bool(left)
    worst: tuple[Reason, ...] = ("diverged", "stalled", "interrupted", "budget", "converged")
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
