"""Checks of the exercises of chapter 10, samplers built to be reversible."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..denoisers import predicting
from ..reversible import Pair, edict, invert_reversible
from ..schedule import Schedule
from . import told, unlike

Function = Callable[[Tensor], Tensor]
UndoShear = Callable[[Tensor, Tensor, float, float, float, Function], Tensor]
UndoEdict = Callable[[Tensor, Tensor, float, float, float, Function], tuple[Tensor, Tensor]]
Enlarged = Callable[[float, int], float]


def check_undo_shear(undo_shear: UndoShear) -> bool:
    """Check the exercise "undo a shear": find y in ``y_new = k y + m x + c f(x)``.

    Args:
        undo_shear: the reader's function ``(x, y_new, k, m, c, f) -> y``.

    Returns:
        Whether it passed.
    """
    return told(
        "undo_shear",
        "exact for a function that nobody could invert, with one call of it",
        _problem_of_undo_shear(undo_shear),
    )


def check_undo_edict(undo_edict: UndoEdict) -> bool:
    """Check the exercise "one step of EDICT, undone".

    Args:
        undo_edict: the reader's function ``(x_new, y_new, a, b, p, epsilon) -> (x, y)``.

    Returns:
        Whether it passed.
    """
    return told(
        "undo_edict",
        "both copies are back, at two calls of the network",
        _problem_of_undo_edict(undo_edict),
    )


def check_enlarged(enlarged: Enlarged) -> bool:
    """Check the exercise "what the averaging costs", against the library's EDICT.

    Args:
        enlarged: the reader's function ``(p, steps) -> factor``.

    Returns:
        Whether it passed.
    """
    return told(
        "enlarged", "as the library's EDICT does, for every p", _problem_of_enlarged(enlarged)
    )


def _problem_of_undo_shear(undo_shear: UndoShear) -> str:
    calls: list[Tensor] = []

    def steps(x: Tensor) -> Tensor:
        calls.append(x.clone())
        return torch.floor(3 * x) + torch.sin(50 * x)

    x, y = _randn(4, 3)
    for k, m, c in ((1.0, 0.0, 1.0), (0.5, 0.0, -2.0), (-1.5, 0.7, 0.3)):
        y_new = k * y + m * x + c * steps(x)
        calls.clear()
        found = undo_shear(x.clone(), y_new.clone(), k, m, c, steps)
        if problem := unlike("undo_shear", found, y, "end it with `return y`"):
            return problem
        if not calls:
            return "f was never called; y_new holds c * f(x), which has to go"
        if not all(torch.equal(seen, x) for seen in calls):
            return "f was called at another point than x; x is known, and it did not change"
        if torch.allclose(found, k * (y_new - m * x - c * steps(x))) and abs(k) != 1:
            return "divide by k at the end, do not multiply"
        if not torch.allclose(found, y, rtol=1e-12, atol=1e-12):
            return f"with k = {k:g}, m = {m:g}, c = {c:g} this is not y; solve the line for y"
    return ""


def _problem_of_undo_edict(undo_edict: UndoEdict) -> str:
    calls = [0]

    def epsilon(x: Tensor) -> Tensor:
        calls[0] += 1
        return torch.tanh(2 * x) + 0.1 * torch.floor(x)

    x, y = _randn(4, 3)
    for p in (1.0, 0.93, 0.6):
        a, b = 1.1, -0.4
        x_half = a * x + b * epsilon(y)
        y_half = a * y + b * epsilon(x_half)
        x_new = p * x_half + (1 - p) * y_half
        y_new = p * y_half + (1 - p) * x_new
        calls[0] = 0
        found = undo_edict(x_new.clone(), y_new.clone(), a, b, p, epsilon)
        if not (isinstance(found, tuple) and len(found) == 2):
            return "undo_edict must return two states: `return x, y`"
        if not all(isinstance(z, Tensor) and z.shape == x.shape for z in found):
            return f"undo_edict must return two tensors of shape {tuple(x.shape)}"
        x_found, y_found = found
        right = [
            torch.allclose(z, truth, rtol=1e-10, atol=1e-12)
            for z, truth in ((x_found, x), (y_found, y))
        ]
        if not any(right):
            if torch.allclose(x_found, x_new) and torch.allclose(y_found, y_new):
                return "both states come back unchanged; undo the last line of the step first"
            part = "the coupled lines" if p == 1 else "the averaging"
            return f"with p = {p:g} both states are wrong: look at {part}, last line first"
        if not all(right):
            wrong = "y" if right[0] else "x"
            return f"with p = {p:g} only {wrong} is wrong; each line changes one state"
        if calls[0] > 2:
            return f"{calls[0]} calls of the network, where two are enough"
    return ""


def _problem_of_enlarged(enlarged: Enlarged) -> str:
    for p, steps in ((1.0, 10), (0.93, 1), (0.93, 50), (0.8, 20)):
        answer = enlarged(p, steps)
        if not isinstance(answer, int | float):
            return f"enlarged must return a number, not a {type(answer).__name__}"
        if not math.isfinite(answer) or answer <= 0:
            return f"enlarged({p:g}, {steps}) is {answer}; a factor is positive and finite"
        wanted = _measured(p, steps)
        if math.isclose(answer, wanted, rel_tol=1e-6):
            continue
        case = f"enlarged({p:g}, {steps}) is {answer:.4g}, measured is {wanted:.4g}"
        if math.isclose(answer, 1 / wanted, rel_tol=1e-6):
            return f"{case}: that is sampling; undoing does the opposite"
        if math.isclose(answer**2, wanted, rel_tol=1e-6):
            return f"{case}: there are two averaging lines a step, not one"
        return f"{case}; look at the second eigenvalue of the averaging"
    return ""


def _measured(p: float, steps: int) -> float:
    """How the library's inverse enlarges the gap of the copies (in u = x / alpha)."""
    grid = Schedule.scaled_linear().grid(steps)
    ones = torch.ones(1, 1, dtype=torch.float64)
    end = Pair(ones, 0 * ones)
    zero = predicting(lambda x, t: torch.zeros_like(x), "epsilon")
    start = invert_reversible(zero, end, edict(grid, p=p)).start
    gap = (start.state - start.companion) / grid.alpha[0]
    return (gap * grid.alpha[-1]).item()


def _randn(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, rows, columns, dtype=torch.float64, generator=generator)
    return both[0], both[1]
