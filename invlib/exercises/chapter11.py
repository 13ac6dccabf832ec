"""Checks of chapter 11: a velocity from a noise, the midpoint rule undone, a pull that forgets."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..denoisers import Mixture, predicting
from ..flow import flow_euler, flow_grid, rf_inversion
from ..schedule import FlowSchedule, Schedule
from . import told

Field = Callable[[Tensor, float], Tensor]
Velocity = Callable[[Tensor, Tensor, float, float], tuple[Tensor, float, Tensor]]
Undo = Callable[[Field, Tensor, float, float, int], Tensor]
Weight = Callable[[float, int], float]


def check_velocity(velocity: Velocity) -> bool:
    r"""Check the exercise "a velocity from a noise", :math:`v = \epsilon - x_0`.

    Args:
        velocity: the reader's function ``(x, epsilon, alpha, sigma) -> (x_flow, s, v)``.

    Returns:
        Whether it passed.
    """
    problem = _problem_of_velocity(velocity)
    return told("velocity", "state, level and velocity of the straight path", problem)


def _problem_of_velocity(velocity: Velocity) -> str:
    schedule, path = Schedule.scaled_linear(), FlowSchedule()
    means = torch.tensor([[1.0, -0.5], [-1.0, 2.0]], dtype=torch.float64)
    network = Mixture(schedule, means, 0.4)
    truth = Mixture(path, means, 0.4, prediction="flow")
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t in (100.0, 400.0, 800.0):
        alpha, sigma = schedule.alpha_t(t).item(), schedule.sigma_t(t).item()
        size = alpha + sigma
        epsilon = network(x, torch.full((6,), t, dtype=torch.float64))
        given = velocity(x.clone(), epsilon.clone(), alpha, sigma)
        if not isinstance(given, tuple) or len(given) != 3:
            return "velocity must return three things: the state, the level s, the velocity"
        state, s, v = given
        for name, value in (("state", state), ("velocity", v)):
            if not isinstance(value, Tensor) or value.shape != x.shape:
                return f"the {name} must be a tensor of the shape of x, {tuple(x.shape)}"
        if math.isclose(s, sigma, rel_tol=1e-9):
            return "s is not sigma: on the straight path the levels 1 - s and s add up to 1"
        if not math.isclose(s, sigma / size, rel_tol=1e-9):
            return f"s is {s:.4g} at alpha = {alpha:.4g}, sigma = {sigma:.4g}; find x / (a number)"
        if torch.allclose(state, x):
            return "the state is still x; divide it, so that its levels are 1 - s and s"
        if not torch.allclose(state, x / size):
            return "the state is not on the straight path; x / (alpha + sigma) is"
        right = truth(state, torch.full((6,), 1000 * s, dtype=torch.float64))
        if torch.allclose(v, -right):
            return "the velocity has the wrong sign: s grows from the data to the noise"
        if torch.allclose(v, epsilon - x) or torch.allclose(v, epsilon - state):
            return "a state is not the data; x_0 is (x - sigma epsilon) / alpha"
        if torch.allclose(v, right * size) or torch.allclose(v, right / size):
            return "only the state is divided: epsilon - x_0 is the same in both models"
        if not torch.allclose(v, right, rtol=1e-8, atol=1e-10):
            return "the velocity is not epsilon - x_0, with the network's x_0"
    return ""


def check_midpoint(undo: Undo) -> bool:
    """Check the exercise "undo a step of the midpoint rule".

    Args:
        undo: the reader's function ``(v, x_next, s, s_next, rounds) -> x``.

    Returns:
        Whether it passed.
    """
    problem = _problem_of_midpoint(undo)
    return told("undo", "the midpoint rule, undone to round-off", problem)


def _problem_of_midpoint(undo: Undo) -> str:
    means = torch.tensor([[1.0, -0.5], [-1.0, 0.5]], dtype=torch.float64)
    network = Mixture(FlowSchedule(), means, 0.6, prediction="flow")

    def v(x: Tensor, s: float) -> Tensor:
        return network(x, torch.full((len(x),), 1000 * s, dtype=torch.float64))

    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for s, s_next in ((1.0, 0.9), (0.6, 0.45)):
        d, middle = s_next - s, (s + s_next) / 2
        x_next = x + d * v(x + d / 2 * v(x, s), middle)
        given = undo(v, x_next.clone(), s, s_next, 200)
        if not isinstance(given, Tensor) or given.shape != x.shape:
            return "undo must return the state x, of the shape of x_next"
        if torch.allclose(given, x, rtol=1e-9, atol=1e-11):
            continue
        if torch.equal(given, x_next):
            return "undo gives x_next back unchanged; solve the equation of the step for x"
        if not torch.isfinite(given).all():
            return "the iteration blew up; s_next - s is negative, look at your signs"
        solver = x_next - d * v(x_next - d / 2 * v(x_next, s_next), middle)
        if torch.allclose(given, solver):
            return "that is RF-Solver's step, which stops here; call v at the newest x, and repeat"
        if torch.allclose(given, x_next - d * v(given, s), atol=1e-9):
            return "this undoes a step of Euler; the midpoint rule moves with the half-way velocity"
        if torch.allclose(given, x_next + d * v(given + d / 2 * v(given, s), middle), atol=1e-9):
            return "wrong direction: x is x_next minus (s_next - s) times a velocity"
        if torch.allclose(given, x_next - d * v(given - d / 2 * v(given, s), middle), atol=1e-9):
            return "the half-way point lies at x plus (s_next - s) / 2 times v(x, s)"
        walked = x_next.clone()
        for _ in range(200):
            walked = walked - d * v(walked + d / 2 * v(walked, s), middle)
        if torch.allclose(given, walked):
            return "x is x_next minus the step: subtract from x_next, which is known, not from x"
        miss = (given - x).norm().item()
        return f"from s = {s} to {s_next} the state is missed by {miss:.1g}; all rounds, newest x?"
    return ""


def check_weight(weight: Weight) -> bool:
    r"""Check the exercise "what RF-Inversion remembers", :math:`\prod_j (1 - \gamma/j)`.

    Args:
        weight: the reader's function ``(gamma, steps) -> P``.

    Returns:
        Whether it passed.
    """
    problem = _problem_of_weight(weight)
    return told("weight", "as much of the image as the library's walk keeps", problem)


def _problem_of_weight(weight: Weight) -> str:
    images = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    for gamma, steps in ((0.5, 4), (0.5, 28), (0.2, 10), (1.0, 5)):
        solver = flow_euler(flow_grid(steps))
        found = rf_inversion(predicting(_still, "flow"), images, solver, gamma=gamma).noise
        kept, given = (found[1] - found[0]).item(), weight(gamma, steps)
        case = f"weight({gamma}, {steps})"
        if not isinstance(given, int | float):
            return f"{case} is a {type(given).__name__}; return a number"
        if math.isclose(given, kept, rel_tol=1e-9, abs_tol=1e-12):
            continue
        if math.isclose(given, 1 - kept, rel_tol=1e-9):
            return f"{case} is the weight of the random target; the image has the rest"
        if math.isclose(given, (1 - gamma) ** steps, rel_tol=1e-9):
            return "a step does not pull by gamma, but by gamma h / (1 - s): less near the image"
        if math.isclose(given, (1 - gamma / steps) ** steps, rel_tol=1e-9):
            return "1 - s falls on the way to the noise, so the pull grows from step to step"
        if math.isclose(given * (1 - gamma), kept, rel_tol=1e-9, abs_tol=1e-12):
            return f"{case}: the last step, with 1 - s = 1/N, is missing; it pulls by all of gamma"
        if math.isclose(given, kept * (1 - gamma / steps), rel_tol=1e-9):
            return f"{case} has a factor too many: 1 - s is 1 at the first step, 1/N at the last"
        return f"{case} is {given:.4g}, but the library's walk keeps {kept:.4g} of the image"
    return ""


def _still(x: Tensor, t: Tensor) -> Tensor:
    """A velocity field that is 0 everywhere."""
    return torch.zeros_like(x)
