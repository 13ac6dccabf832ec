"""Checks of chapter 2: each prints what is right, or what to look at next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..denoisers import gaussian
from ..sampling import sample
from ..schedule import Grid, Schedule
from ..solvers import Solver, ddim, dpm_solver_pp_2m, dpm_solver_pp_3m
from . import told

Step = Callable[[int, Tensor, list[Tensor]], Tensor]


def check_ddim(coefficients: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> bool:
    r"""Check "DDIM from a grid": :math:`x_{i+1} = a_i x_i + b_i\,\epsilon_i`.

    Args:
        coefficients: the reader's function ``(alpha [n+1], sigma [n+1]) -> (a [n], b [n])``.

    Returns:
        Whether it passed.
    """
    return told("ddim", "the coefficients of every step", _problem_of_ddim(coefficients))


def _problem_of_ddim(coefficients: Callable) -> str:
    for grid in (_grid(10), _grid(7, "karras")):
        answer = coefficients(grid.alpha.clone(), grid.sigma.clone())
        if not _tensors(answer, 2):
            return "end with `return a, b`, two tensors"
        a, b = answer
        if a.shape != (grid.steps,) or b.shape != (grid.steps,):
            return (
                f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}, but a grid of "
                f"{grid.steps + 1} points has {grid.steps} steps"
            )
        right = ddim(grid)
        right_b = right.b.diagonal()
        if torch.allclose(a, grid.sigma[1:] / grid.sigma[:-1]):
            return "this a belongs to data prediction; here the network predicts the noise"
        if torch.allclose(a, 1 / right.a):
            return "a is upside down: the next alpha stands above"
        if not torch.allclose(a, right.a):
            return "a is wrong: put noise 0 into the step, then x / alpha stays as it is"
        if torch.allclose(b, -right_b):
            return (
                "b has the wrong sign: x / alpha = x_0 + (sigma / alpha) eps must hold afterwards"
            )
        if not torch.allclose(b, right_b):
            return "b is wrong: if x_i = alpha_i x_0 + sigma_i eps, so must x_{i+1} be"
    return ""


def check_second(coefficients: Callable[[Tensor, Tensor, int], tuple[Any, Any, Any]]) -> bool:
    r"""Check "the numbers of 2M": :math:`x_{i+1} = a x_i + b\,D_i + c\,D_{i-1}`.

    Args:
        coefficients: the reader's function ``(alpha, sigma, i) -> (a, b, c)``.

    Returns:
        Whether it passed.
    """
    return told("second", "the numbers of DPM-Solver++(2M)", _problem_of_second(coefficients))


def _problem_of_second(coefficients: Callable) -> str:
    grid = _grid(10)  # uneven in lambda: r is not 1
    right = dpm_solver_pp_2m(grid, lower_order_final=False)
    heun = dpm_solver_pp_2m(grid, kind="heun", lower_order_final=False)
    h = grid.lambda_.diff()
    for i in range(1, grid.steps):
        answer = coefficients(grid.alpha.clone(), grid.sigma.clone(), i)
        if not isinstance(answer, tuple) or len(answer) != 3 or any(v is None for v in answer):
            return "end with `return a, b, c`, three numbers"
        a, b, c = (float(v) for v in answer)
        now, before = right.b[i, i].item(), right.b[i, i - 1].item()
        if not _near(a, right.a[i].item()):
            return "a is wrong: it is what a step does to x when the network says 0"
        if _near(c, -before) or _near(b + c, -(now + before)):
            return "a sign is wrong: e^(-h) - 1 is negative, and the older output is subtracted"
        if _near(b, heun.b[i, i].item()):
            return 'these are the weights of kind="heun"; the midpoint kind has no phi_2'
        if not _near(b + c, now + before):
            return "b + c is wrong: where D does not change, 2M is the first-order step"
        if _near(c, 2 * before):
            return "the difference counts twice too much: 1/(2r), not 1/r"
        r = (h[i - 1] / h[i]).item()
        if _near(c, before * r * r):
            return "r is upside down: the older step stands above, r = h_{i-1} / h_i"
        if not (_near(b, now) and _near(c, before)):
            return "b + c is right, but not the split: D_i + (D_i - D_{i-1}) / (2r)"
    return ""


def check_order(order: Callable[[Callable[[int], Tensor], Tensor, list[int]], float]) -> bool:
    """Check "measure an order".

    Args:
        order: the reader's function ``(run, end, steps) -> number``; ``run(n)`` is the image of
            an n-step sampler, ``end`` the exact one.

    Returns:
        Whether it passed.
    """
    return told("order", "right for made-up errors, DDIM and 2M", _problem_of_order(order))


def _problem_of_order(order: Callable) -> str:
    end = torch.tensor([[3.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
    off = torch.tensor([[0.6, 0.0], [0.0, -0.8]], dtype=torch.float64)
    for p in (1.0, 2.0, 3.5):
        found = order(lambda n, p=p: end + off * n**-p, end, [10, 20, 40, 80])
        if not isinstance(found, float | int | Tensor):
            return f"order returns a {type(found).__name__}; end with `return` and a number"
        found = float(found)
        if _near(found, -p, 0.01):
            return "the sign is wrong: errors fall, and an order is positive"
        if _near(found, 2 * p, 0.01):
            return "twice too large: compare errors, not squared errors"
        if abs(found - p) > 0.01:
            return f"errors of size n^(-{p:g}) give {found:.2f}; take the slope of log over log"
    schedule = Schedule.scaled_linear()
    network = gaussian(schedule, torch.zeros(2, dtype=torch.float64), 0.5)
    noise = off + 1
    for build, p in ((ddim, 1), (dpm_solver_pp_2m, 2)):
        ends = schedule.grid(1)
        spread = (ends.alpha**2 * 0.25 + ends.sigma**2).sqrt()
        exact = spread[1] / spread[0] * noise

        def run(n: int, build: Callable[[Grid], Solver] = build) -> Tensor:
            return sample(network, noise, build(schedule.grid(n, spacing="logsnr"))).image

        found = float(order(run, exact, [80, 160, 320]))
        if abs(found - p) > 0.2:
            return f"a sampler of order {p} gives {found:.2f}; compare run(n) with end"
    return ""


def check_probe(probe: Callable[[Step, int], tuple[Tensor, Tensor]]) -> bool:
    r"""Check "read a table": :math:`y_i = A_i y_0 + \sum_{j<i} B_{ij} m_j`.

    Args:
        probe: the reader's function ``(step, n) -> (A [n+1], B [n+1, n])``; ``step(i, y, outputs)``
            is the next state.

    Returns:
        Whether it passed.
    """
    return told("probe", "the tables of 2M, 3M and a sampler with stages", _problem_of_probe(probe))


def _problem_of_probe(probe: Callable) -> str:
    generator = torch.Generator().manual_seed(0)
    full = torch.rand(5, 5, dtype=torch.float64, generator=generator).tril() - 0.5
    two, three = dpm_solver_pp_2m(_grid(6)), dpm_solver_pp_3m(_grid(8))
    tables = [(two.a, two.b), (three.a, three.b), (full[:, 0] + 1, full.tril())]
    for a, b in tables:
        n = len(a)

        def step(i: int, y: Tensor, outputs: list[Tensor], a: Tensor = a, b: Tensor = b) -> Tensor:
            if not isinstance(y, Tensor) or len(outputs) != i + 1:
                raise _BadCallError(
                    f"step {i} wants a tensor y and the {i + 1} outputs m_0 ... m_{i}"
                )
            return a[i] * y + sum(w * m for w, m in zip(b[i], outputs, strict=False))

        try:
            answer = probe(step, n)
        except _BadCallError as error:
            return str(error)
        if not _tensors(answer, 2):
            return "end with `return A, B`, two tensors"
        A, B = answer
        if A.shape != (n + 1,) or B.shape != (n + 1, n):
            return (
                f"A and B have shapes {tuple(A.shape)} and {tuple(B.shape)} instead of "
                f"{(n + 1,)} and {(n + 1, n)}: a row for each of y_0 ... y_{n}"
            )
        right_A, right_B = _unrolled(a, b)
        if not torch.allclose(A, right_A):
            if torch.allclose(A[1:], a):
                return "A holds the one-step numbers a; A_i is what y_i gets of y_0"
            return "A is wrong: A_i is y_i when y_0 = 1 and all outputs are 0"
        if not torch.allclose(B, right_B):
            if torch.allclose(B[1:], b):
                return "B holds the one-step numbers b; keep the whole y_i, not its last change"
            return "B is wrong: B_ij is y_i when m_j = 1 and everything else is 0"
    return ""


class _BadCallError(Exception):
    """The reader's function calls ``step`` in a way that cannot work."""


def _unrolled(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    n = len(a)
    A, B = torch.ones(n + 1, dtype=torch.float64), torch.zeros(n + 1, n, dtype=torch.float64)
    for i in range(n):
        A[i + 1], B[i + 1] = a[i] * A[i], a[i] * B[i] + b[i]
    return A, B


def _grid(steps: int, spacing: Any = "linspace") -> Grid:
    return Schedule.scaled_linear().grid(steps, spacing=spacing)


def _tensors(answer: object, count: int) -> bool:
    """Whether an answer is a tuple of that many tensors."""
    known = isinstance(answer, tuple) and len(answer) == count
    return known and all(isinstance(part, Tensor) for part in answer)  # type: ignore[attr-defined]


def _near(x: float, y: float, tolerance: float = 1e-9) -> bool:
    return abs(x - y) <= tolerance * max(abs(x), abs(y))
