"""One path in the network's strength, followed for long: where it turns, and what it costs."""

from __future__ import annotations

import torch
from torch import Tensor

from ...sampling import sample
from ..models.problem import Problem
from .line import StrengthLine
from .path import follow


def trace(name: str, guidance: float, image: int, rounds: int, profile: str) -> dict[str, Tensor]:
    """The strengths that the path of one image passes through, and the rounds spent by then."""
    problem = Problem.of(name, guidance, image, 1, profile)
    with torch.no_grad():
        target = sample(problem.denoiser, problem.noise, problem.solver).image
        line = StrengthLine.of(problem.denoiser, target, problem.solver)
        alpha = problem.solver.alpha
        begin = (alpha[:-1] / alpha[-1])[:, None] * line.image.flatten(1)
        path = follow(line, begin, 0.0, 1.0, max_rounds=rounds, weight=1.0)
    return {
        "parameter": torch.tensor(path.parameter, dtype=torch.float64),
        "rounds": torch.tensor(path.rounds),
        "mean_square": path.y[0].square().mean(),
    }


def turns(parameter: Tensor) -> Tensor:
    """The strengths at which a path turns around."""
    step = parameter.diff().sign()
    return parameter[1:-1][step[1:] * step[:-1] < 0]
