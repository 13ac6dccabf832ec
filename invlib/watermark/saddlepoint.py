r"""Tails of sums of independent numbers, by the saddlepoint approximation.

With the cumulants K(t) of a sum S, and t such that :math:`K'(t) = s`,

.. math:: \Pr(S \ge s) \approx 1 - \Phi\bigl(w + \tfrac1w \log\tfrac uw\bigr), \qquad
          w = \pm\sqrt{2(ts - K(t))}, \quad u = t\sqrt{K''(t)}.

Source: Barndorff-Nielsen's form of the formula of Lugannani and Rice (1980).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

ROUNDS = 60  # halvings of an interval
MOST = 60.0  # standard deviations: the largest tilt that is looked at
NEAR = 1e-3  # deviate below which the correction is left out
TILTS = torch.linspace(-1, 1, 160, dtype=torch.float64)  # of a table; 0 is none of them
LARGEST = 2**22  # numbers that are handled at once

Cumulants = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def deviate(score: Tensor, cumulants: Cumulants, spread: Tensor) -> Tensor:
    """The normal deviate that is exceeded as often as the score, each of a sum of its own.

    Args:
        score: s, any shape.
        cumulants: ``t -> (K, K', K'')``, for t of the shape of ``score``.
        spread: standard deviation of S, of that shape.
    """
    high = MOST / spread.clamp(min=1e-30)
    low = -high
    for _ in range(ROUNDS):
        t = (low + high) / 2
        below = cumulants(t)[1] < score
        low, high = torch.where(below, t, low), torch.where(below, high, t)
    t = (low + high) / 2
    k, _, curvature = cumulants(t)
    return _deviate(t, score, k, curvature)


def deviate_of_table(score: Tensor, table: Tensor) -> Tensor:
    """The same for many scores of one sum: of an entry of each row, all alike probable.

    Args:
        score: ``[K]``.
        table: the entries, ``[n, V]``.
    """
    middle = table.mean(1, keepdim=True)
    values = table - middle
    spread = values.square().mean(1).sum().sqrt()
    tilts = MOST * TILTS / spread.clamp(min=1e-30)
    parts = [_of_rows(t, values) for t in tilts.split(max(1, LARGEST // values.numel()))]
    k, first, second = (torch.cat(part) for part in zip(*parts, strict=True))
    return _interpolated(score - middle.sum(), first, _deviate(tilts, first, k, second))


def deviate_of_log(log_p: Tensor) -> Tensor:
    """The normal deviate, not negative, that is exceeded with a probability of known logarithm."""
    low = torch.zeros_like(log_p)
    high = (2 * (1 - log_p)).sqrt()
    for _ in range(ROUNDS):
        z = (low + high) / 2
        above = torch.special.log_ndtr(-z) > log_p
        low, high = torch.where(above, z, low), torch.where(above, high, z)
    return (low + high) / 2


def _of_rows(t: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cumulants at tilts ``[T]`` of the sum of one entry of each row ``[n, V]``."""
    tilted = t[:, None, None] * values
    total = torch.logsumexp(tilted, 2, keepdim=True)
    weight = (tilted - total).exp()
    mean = (weight * values).sum(2)
    bend = (weight * values.square()).sum(2) - mean.square()
    k = total.sum((1, 2)) - math.log(values.shape[1]) * len(values)
    return k, mean.sum(1), bend.sum(1)


def _deviate(t: Tensor, score: Tensor, k: Tensor, curvature: Tensor) -> Tensor:
    """The normal deviate that is exceeded as often as the score."""
    w = t.sign() * (2 * (t * score - k)).clamp(min=0).sqrt()
    u = t * curvature.clamp(min=1e-300).sqrt()
    near = w.abs() < NEAR
    safe = torch.where(near, 1.0, w)
    return w + torch.where(near, 0.0, (u / safe).clamp(min=1e-300).log() / safe)


def _interpolated(x: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Linear between known places, which ascend, and constant outside."""
    place = torch.searchsorted(known, x.contiguous()).clamp(1, len(known) - 1)
    gap = (known[place] - known[place - 1]).clamp(min=1e-300)
    share = ((x - known[place - 1]) / gap).clamp(0, 1)
    return torch.lerp(values[place - 1], values[place], share)
