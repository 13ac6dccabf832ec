"""What several tests share: analytic denoisers with known paths, diffusers' own loop, slopes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from invlib.denoisers import Denoiser, Function, Mixture, Predicting, Prediction, predicting
from invlib.schedule import Levels, Schedule
from invlib.solvers import Solver

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
MEAN, STD = 0.3, 0.6  # the Gaussian whose probability flow is known in closed form


def randn(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def noise_prediction(function: Function) -> Predicting:
    """Declare that a function predicts the noise; a decorator."""
    return predicting(function, "epsilon")


def one_gaussian(schedule: Levels, dim: int = 3, prediction: Prediction = "epsilon") -> Mixture:
    """The denoiser of the Gaussian with the constants above."""
    mean = torch.full((1, dim), MEAN, dtype=torch.float64)
    return Mixture(schedule, mean, STD, prediction=prediction)


def gaussian_path(alpha: Tensor, sigma: Tensor, y: Tensor) -> Tensor:
    """States ``[n+1, B, dim]`` of the exact probability flow that passes through ``y`` first."""
    spread = (alpha**2 * STD**2 + sigma**2).sqrt()[:, None, None]
    alpha = alpha[:, None, None]
    return alpha * MEAN + spread / spread[0] * (y - alpha[0] * MEAN)


def mixture(schedule: Levels, dim: int = 4, components: int = 5, std: float = 0.3) -> Mixture:
    """A mixture with unequal weights and two classes, curved enough to be a real test."""
    weights = torch.arange(1.0, components + 1, dtype=torch.float64)
    labels = torch.arange(components) % 2
    return Mixture(schedule, randn(components, dim, seed=5), std, labels, weights)


def mixture_end(schedule: Schedule, denoiser: Denoiser, y: Tensor, steps: int = 800) -> Tensor:
    """Where the probability flow takes ``y`` from time T-1 to time 0: Runge-Kutta of order 4.

    In u = x / alpha and s = sigma / alpha the flow is du/ds = epsilon(x, t).
    """

    def slope(u: Tensor, log_s: Tensor) -> Tensor:
        alpha = torch.rsqrt(1 + torch.exp(2 * log_s))
        t = schedule.t_lambda(-log_s).expand(len(u))
        return torch.exp(log_s) * denoiser(alpha * u, t)

    ends = -schedule.lambdas.flip(0)[[0, -1]]
    grid = torch.linspace(ends[0].item(), ends[1].item(), steps + 1, dtype=torch.float64)
    u = y / schedule.alpha_t(schedule.times - 1.0)
    for log_s, h in zip(grid[:-1], grid.diff(), strict=True):
        k1 = slope(u, log_s)
        k2 = slope(u + h / 2 * k1, log_s + h / 2)
        k3 = slope(u + h / 2 * k2, log_s + h / 2)
        k4 = slope(u + h * k3, log_s + h)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return u * schedule.alpha_t(0.0)


def slope(steps: Sequence[int], errors: Sequence[float]) -> float:
    """Order of convergence: minus the least-squares slope of log error over log steps."""
    x = torch.tensor([math.log(n) for n in steps], dtype=torch.float64)
    y = torch.tensor([math.log(e) for e in errors], dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return -((x * y).sum() / (x * x).sum()).item()


def run_from(solver: Solver, denoiser: Denoiser, exact: Tensor, start: int) -> Tensor:
    """The image, when the states (so the outputs) up to node ``start`` are given exactly."""
    rows = torch.arange(exact.shape[1])

    def output(i: int, y: Tensor) -> Tensor:
        return solver.output(denoiser, y, torch.full_like(rows, i), rows)

    outputs = [output(i, exact[i]) for i in range(start)]
    y = exact[start]
    for i in range(start, solver.steps):
        outputs.append(output(i, y))
        y = solver.step(i, y, outputs)
    return y


def diffusers_loop(
    scheduler: Any, network: Callable[[Tensor, Tensor], Tensor], y: Tensor
) -> Tensor:
    """Network inputs and image, ``[n+1, B, dim]``, of diffusers' own loop on float64 tensors."""
    scale = getattr(scheduler, "scale_model_input", lambda x, t: x)
    x, states = y * getattr(scheduler, "init_noise_sigma", 1.0), []
    for t in scheduler.timesteps:
        states.append(scale(x, t))
        x = scheduler.step(network(states[-1], t.double().expand(len(y))), t, x).prev_sample
    return torch.stack([*states, x]).double()


def relative(states: Tensor, reference: Tensor) -> float:
    """Largest relative error of a state, in the maximum norm of each state."""
    error = (states - reference).abs().flatten(1).amax(1)
    return (error / reference.abs().flatten(1).amax(1)).max().item()
