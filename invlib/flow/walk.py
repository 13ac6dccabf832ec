"""An explicit walk against the sampler's direction, which all rivals share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoisers import Denoiser, convert, parts, prediction_of, select
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..schedule import Grid
from ..solvers import Solver
from .grid import step_grid


@dataclass(frozen=True)
class Field:
    """The velocity of a network along the points of a walk, every call counted.

    Attributes:
        evaluator: network and count.
        t: time labels of the points, in the walk's order, N+1.
        sigma: noise levels of the points, N+1.
    """

    evaluator: Evaluator
    t: list[float]
    sigma: list[float]

    def gap(self, k: int) -> float:
        """Length of step k in the noise level; positive towards the noise."""
        return self.sigma[k + 1] - self.sigma[k]

    def __call__(self, y: Tensor, place: float) -> Tensor:
        r"""The velocity :math:`v = \epsilon - x_0` at states ``y [B, ...]``.

        Args:
            y: states, ``[B, ...]``.
            place: which point of the walk; 2.5 is half-way between the third and the fourth.

        Raises:
            ValueError: if the prediction does not fix the velocity there, or is not finite.
        """
        low = min(math.floor(place), len(self.t) - 2)
        t, sigma = (v[low] + (place - low) * (v[low + 1] - v[low]) for v in (self.t, self.sigma))
        levels = y.new_full((len(y),), 1 - sigma), y.new_full((len(y),), sigma)
        kind = prediction_of(self.evaluator.denoiser)
        p, q = parts(kind, *levels)
        if (levels[0] * q == levels[1] * p).any():
            raise ValueError(
                f"a network that predicts {kind!r} says nothing of the velocity at noise level "
                f"{sigma:g}: give one that predicts 'flow', or a grid without this level"
            )
        rows = torch.arange(len(y), device=y.device)
        raw = self.evaluator.call(self._evaluate, y, y.new_full((len(y),), t), rows)
        if not torch.isfinite(raw).all():
            raise ValueError(f"the network's output is not finite at t = {t:g}")
        return convert(raw.to(y.dtype), y, *levels, kind, "flow")

    def _evaluate(self, y: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        return select(self.evaluator.denoiser, rows)(y, t)


Rule = Callable[[Field, Tensor, int, Tensor | None], Tensor]
"""``(field, y_k, k, last velocity) -> velocity`` of step k."""


def walk(field: Field, y: Tensor, rule: Rule) -> list[Tensor]:
    r"""The states of an explicit walk, :math:`y_{k+1} = y_k + (\sigma_{k+1} - \sigma_k)\,u_k`.

    Args:
        field: the velocity and the points.
        y: first state, ``[B, ...]``.
        rule: the velocity u_k of every step.

    Returns:
        N+1 states, ``[B, ...]`` each.
    """
    states, velocity = [y], None
    for k in range(len(field.t) - 1):
        velocity = rule(field, states[-1], k, velocity)
        states.append(states[-1] + field.gap(k) * velocity)
    return states


def reverse(
    denoiser: Denoiser, image: Tensor, solver: Solver, rule: Rule, method: str
) -> Inversion:
    """An inversion by an explicit walk from the image to the noise.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a flow-matching sampler, for its points.
        rule: the velocity of every step.
        method: name of the method.

    Returns:
        An :class:`~invlib.inversion.Inversion`; states of the sampler between the points of the
        walk are interpolated.

    Raises:
        ValueError: if the image is not a finite batch, the solver is no flow-matching sampler,
            or the network's output is not finite.
    """
    evaluator, image = Evaluator.start(denoiser, image, solver)
    grid = step_grid(solver)
    field = Field(evaluator, grid.t.flip(0).tolist(), grid.sigma.flip(0).tolist())
    states = _at(solver.sigma, grid, torch.stack(walk(field, image, rule)))
    return Inversion(
        noise=states[0] / solver.scale,
        states=states,
        residuals=torch.full((len(image), solver.steps), torch.nan, dtype=torch.float64),
        iterations=torch.zeros(len(image), dtype=torch.long),
        nfe=evaluator.nfe,
        reason=tuple(["explicit"] * len(image)),
        method=method,
    )


def _at(sigma: Tensor, grid: Grid, states: Tensor) -> Tensor:
    """States at noise levels ``sigma``, linear between those of a walk from image to noise."""
    known = grid.sigma.flip(0)
    high = torch.searchsorted(known, sigma.contiguous()).clamp(min=1)
    part = (sigma - known[high - 1]) / (known[high] - known[high - 1])
    index = high.to(states.device)
    weight = part.to(states).view(-1, *[1] * (states.ndim - 1))
    return torch.lerp(states[index - 1], states[index], weight)
