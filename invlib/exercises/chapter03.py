"""Checks of chapter 3: undoing one step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoisers import Denoiser, gaussian
from ..sampling import sample
from ..schedule import Schedule
from ..solvers import ddim
from . import told, unlike

Undo = Callable[[Denoiser, Tensor, float, float, Tensor, int], Tensor]


def check_undo(undo: Undo) -> bool:
    r"""Check the exercise "undo one step": find x in :math:`x_+ = a x + b\,\epsilon(x, t)`.

    Args:
        undo: the reader's function ``(network, x_next, a, b, t, rounds) -> x``.

    Returns:
        Whether it passed.
    """
    right = "one round is the naive step, many rounds are the exact one"
    return told("undo", right, _problem_of_undo(undo))


def _problem_of_undo(undo: Undo) -> str:
    schedule = Schedule.scaled_linear()
    network = gaussian(schedule, torch.zeros(2, dtype=torch.float64), 0.5)
    solver = ddim(schedule.grid(10))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 2, dtype=torch.float64, generator=generator)
    path = sample(network, noise, solver)
    for i in range(solver.steps):
        a, b = solver.a[i].item(), solver.b[i, i].item()
        t = solver.t[i].expand(len(noise))
        x, x_next = path.states[i], path.states[i + 1]
        once, often = (undo(network, x_next.clone(), a, b, t, rounds) for rounds in (1, 200))
        for result in (once, often):
            if problem := unlike("undo", result, x, "end it with `return x`"):
                return problem
        if torch.equal(often, x_next):
            return "undo gives x_next back unchanged; solve the equation of the step for x"
        naive = (x_next - b * network(x_next, t)) / a
        if not torch.allclose(once, naive, rtol=1e-10):
            return (
                "one round is not the naive step; begin with x = x_next and solve "
                "a * x + b * network(x_next, t) = x_next for x"
            )
        if torch.allclose(often, naive, rtol=1e-10):
            return "more rounds change nothing; call the network at the newest x, not at x_next"
        if not torch.allclose(often, x, rtol=1e-9, atol=1e-12):
            drifted = x_next
            for _ in range(200):
                drifted = (drifted - b * network(drifted, t)) / a
            if torch.allclose(often, drifted, rtol=1e-9):
                return "the numerator holds x_next, which is known, not the running x"
            return f"after 200 rounds step {i} is not undone; a, b and t belong to one equation"
    return ""
