r"""Read any deterministic diffusers scheduler as a table, by running its own loop.

A deterministic scheduler multiplies and adds whole tensors with scalars, so every network input
is :math:`y_i = A_i y_0 + \sum_{j<i} B_{ij} m_j`. Run once on a one-pixel-per-basis "image"
(pixel k is 1 where basis k is meant), the loop writes row i of (A, B) into :math:`y_i`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .denoisers import Prediction
from .schedule import FlowSchedule, Levels, Schedule
from .solvers import Solver


class NotInvertible(ValueError):
    """The scheduler is no deterministic affine recursion; the message says why."""


def from_scheduler(
    scheduler: Any, steps: int, *, set_timesteps: Callable[[Any, int], None] | None = None
) -> Solver:
    r"""Read a diffusers scheduler as a :class:`~invlib.solvers.Solver`.

    .. math:: y_i = A_i\,y_0 + \sum_{j<i} B_{ij}\,m_j
              \;\Longleftrightarrow\; y_{i+1} = a_i y_i + \sum_{j \le i} b_{ij} m_j

    Args:
        scheduler: any diffusers scheduler; it is copied, never changed.
        steps: number of inference steps, as for ``scheduler.set_timesteps``.
        set_timesteps: replaces ``scheduler.set_timesteps(steps)``, for example to pass ``mu``.

    Returns:
        The table, in the basis (noise, data, v or flow prediction) in which it is sparsest.

    Raises:
        NotInvertible: if a step is stochastic, clips, thresholds, is not affine in states and
            outputs, or cannot be run with these arguments.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    name = type(scheduler).__name__
    for option in ("thresholding", "clip_sample"):
        if getattr(scheduler.config, option, False):
            raise NotInvertible(f"{name}: {option}=True is not affine; set {option}=False")
    first, ready = _probe(scheduler, steps, 1.0, 0, set_timesteps)
    again, _ = _probe(scheduler, steps, 1.0, 1, set_timesteps)
    if not torch.equal(first, again):
        raise NotInvertible(f"{name} adds fresh noise in its steps: stochastic, so not invertible")
    scaled, _ = _probe(scheduler, steps, 64.0, 0, set_timesteps)
    if not torch.allclose(first, scaled, rtol=1e-3, atol=1e-4):
        raise NotInvertible(f"{name}: the step is not affine in past states and outputs")
    return _solver(ready, f"{name}-{steps}", first)


def _probe(
    scheduler: Any,
    steps: int,
    size: float,
    seed: int,
    set_timesteps: Callable[[Any, int], None] | None,
) -> tuple[Tensor, Any]:
    """Rows ``[n+1, n+1]`` of (A, B) for y_0 ... y_n, and the scheduler that was run."""
    scheduler = copy.deepcopy(scheduler)
    try:
        (set_timesteps or type(scheduler).set_timesteps)(scheduler, steps)
        t = scheduler.timesteps
        basis = size * torch.eye(len(t) + 1, dtype=torch.float64).view(-1, 1, 1, 1, len(t) + 1)
        x = basis[0] * float(getattr(scheduler, "init_noise_sigma", 1.0))
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        rows = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            options = {"generator": torch.Generator().manual_seed(seed)} if takes_generator else {}
            for i, time in enumerate(t):
                scale = getattr(scheduler, "scale_model_input", None)
                rows.append((scale(x, time) if scale else x).flatten())
                x = scheduler.step(basis[i + 1], time, x, **options).prev_sample
    except Exception as error:
        reason = f"{type(scheduler).__name__} cannot be run: {type(error).__name__}: {error}"
        raise NotInvertible(reason) from error
    return torch.stack([*rows, x.flatten()]).double() / size, scheduler


def _solver(scheduler: Any, name: str, rows: Tensor) -> Solver:
    t = torch.as_tensor(scheduler.timesteps).double()
    prediction, schedule = _kind(scheduler)
    scale = rows[0, 0].item()
    rows = torch.cat([rows[:, :1] / scale, rows[:, 1:]], 1)
    alpha, sigma = _levels(rows, prediction, *_first_level(scheduler, schedule, t))
    candidates = [(prediction, rows)]
    if prediction != "sample" and (sigma[:-1] > 0).all() and (alpha[:-1] > 0).all():
        candidates.append(("sample", _in_data_prediction(rows, alpha, sigma, prediction)))
    tables = [(p, *_recursion(r)) for p, r in candidates]
    best, a, b = min(tables, key=lambda table: int((table[2] != 0).sum()))
    return Solver(name, a, b, t, alpha, sigma, best, schedule, scale)


def _kind(scheduler: Any) -> tuple[Prediction, Levels]:
    """What the scheduler expects of the network, and its schedule."""
    config = scheduler.config
    if "FlowMatch" in type(scheduler).__name__ or "flow" in str(config.get("prediction_type")):
        return "flow", FlowSchedule(config.get("num_train_timesteps", 1000))
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "sample", "v_prediction"):
        raise NotInvertible(f"{type(scheduler).__name__}: prediction type {prediction!r} is unknown")
    return prediction, Schedule.from_scheduler(scheduler)


def _first_level(scheduler: Any, schedule: Levels, t: Tensor) -> tuple[float, float]:
    """Signal and noise level of y_0."""
    sigmas = getattr(scheduler, "sigmas", None)
    if isinstance(schedule, Schedule) and sigmas is not None:
        ratio = torch.as_tensor(sigmas).double()[0]  # sigma / alpha
        alpha = torch.rsqrt(1 + ratio**2)
        return alpha.item(), (alpha * ratio).item()
    return schedule.alpha_t(t[0]).item(), schedule.sigma_t(t[0]).item()


def _levels(
    rows: Tensor, prediction: Prediction, alpha: float, sigma: float
) -> tuple[Tensor, Tensor]:
    """Signal and noise level of every state: where constant data and noise would end up."""
    levels = [torch.tensor([alpha, sigma], dtype=torch.float64)]
    outputs: list[Tensor] = []
    for row in rows[1:]:
        a, s = levels[-1]
        zero, one = torch.zeros_like(a), torch.ones_like(a)
        constant = {
            "epsilon": (zero, one),
            "sample": (one, zero),
            "v_prediction": (-s, a),
            "flow": (-one, one),
        }
        outputs.append(torch.stack(constant[prediction]))
        past = torch.stack(outputs)
        levels.append(row[0] * levels[0] + row[1 : len(past) + 1] @ past)
    alphas, sigmas = torch.stack(levels).T
    return alphas, torch.where(sigmas.abs() < 1e-5, 0.0, sigmas)


def _in_data_prediction(
    rows: Tensor, alpha: Tensor, sigma: Tensor, prediction: Prediction
) -> Tensor:
    r"""Rewrite rows in terms of :math:`D_j`: an output is p_j y_j + q_j D_j."""
    a, s = alpha[:-1], sigma[:-1]
    p, q = {
        "epsilon": (1 / s, -a / s),
        "v_prediction": (a / s, -(a**2) / s - s),
        "flow": (1 / s, -a / s - 1),
    }[prediction]
    new = rows.clone()
    for i in range(len(rows)):
        new[i, 1:] = 0.0
        new[i, 0] = rows[i, 0]
        for j in range(i):
            new[i] += rows[i, 1 + j] * p[j] * new[j]
            new[i, 1 + j] += rows[i, 1 + j] * q[j]
    return new


def _recursion(rows: Tensor) -> tuple[Tensor, Tensor]:
    """One-step weights (a, b) of unrolled rows; float32 dust off the band is dropped."""
    first, later = rows[:-1], rows[1:]
    usable = first[:, 0].abs() > 1e-12
    a = torch.where(usable, later[:, 0] / torch.where(usable, first[:, 0], 1.0), 0.0)
    b = later[:, 1:] - a[:, None] * first[:, 1:]
    return a, torch.where(b.abs() > 1e-6 * b.abs().amax(1, keepdim=True), b, 0.0)
