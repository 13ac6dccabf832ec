"""Checks of chapter 5, "High order: Algorithm 2"."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..denoisers import Denoiser, gaussian
from ..inverters.algorithm2 import algorithm2
from ..rootfind import anderson
from ..sampling import sample
from ..schedule import Schedule
from ..solvers import Solver, dpm_solver_pp_2m
from . import told

Output = Callable[[Tensor], Tensor]
FrozenResidual = Callable[[Output, Tensor, Tensor, float, float, float, Tensor, Tensor], Tensor]
Propagate = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Count = Callable[[int, int, bool, int], int]


def check_frozen_residual(frozen_residual: FrozenResidual) -> bool:
    r"""Check the exercise "a 2M step with a frozen history".

    .. math:: r(x) = a x + (b + c)\,m(x) + c\,(\hat m_{old} - \hat m_{new}) - x_+

    Args:
        frozen_residual: the reader's ``(m, x, x_next, a, b, c, rough_new, rough_old) -> r``, with
            b the weight of the newest output and c that of the one before.

    Returns:
        Whether it passed.
    """
    return told(
        "frozen_residual",
        "0 at the truth, and wrong by exactly the error of the frozen term",
        _problem_of_residual(frozen_residual),
    )


def check_propagate(propagate: Propagate) -> bool:
    r"""Check the exercise "predict the floor": the error of the noise from those of frozen terms.

    .. math:: (a_i + w_i g_i)\,\delta_i = \delta_{i+1} - e_i, \qquad \delta_N = 0

    Args:
        propagate: the reader's ``(a, w, g, e) -> delta_0``; all four are ``[N]``, noise first.

    Returns:
        Whether it passed.
    """
    return told(
        "propagate",
        "the error of the noise follows from the errors of the frozen terms",
        _problem_of_propagate(propagate),
    )


def check_count(count: Count) -> bool:
    """Check the exercise "what does Algorithm 2 cost?" against the library's own count.

    Args:
        count: the reader's ``(n, k, lower_order_final, iterations) -> evaluations``.

    Returns:
        Whether it passed.
    """
    return told("count", "the same number as the library counts", _problem_of_count(count))


def _problem_of_residual(frozen_residual: FrozenResidual) -> str:
    schedule = Schedule.scaled_linear()
    network = gaussian(schedule, torch.ones(2, dtype=torch.float64), 0.5)
    solver = dpm_solver_pp_2m(schedule.grid(10))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 2, dtype=torch.float64, generator=generator)
    path = sample(network, noise, solver)
    rows = torch.arange(len(noise))
    for i in (1, 4, 8):
        a, b, c = solver.a[i].item(), solver.b[i, i].item(), solver.b[i, i - 1].item()
        x, x_next = path.states[i], path.states[i + 1]
        m = partial(_output, solver, network, i, rows)
        new, old = path.outputs[i], path.outputs[i - 1]
        call = partial(frozen_residual, m)
        true = call(x.clone(), x_next.clone(), a, b, c, new.clone(), old.clone())
        if not isinstance(true, Tensor):
            return f"frozen_residual returns a {type(true).__name__}; return the residual itself"
        if true.shape != x.shape:
            return f"frozen_residual returns shape {tuple(true.shape)}, not {tuple(x.shape)}"
        size = x_next.abs().max()
        if true.abs().max() > 1e-10 * size:
            if torch.allclose(true, x_next, rtol=1e-9):
                return "everything is there but x_next; a residual is left minus right"
            if torch.allclose(true, -c * new, rtol=1e-8) or torch.allclose(
                true, -b * new, rtol=1e-8
            ):
                return (
                    "m(x) needs the sum of the row, b + c, since the frozen difference takes c back"
                )
            return "with the true outputs the true x must give 0; look at the signs of both b and c"
        off_new, off_old = 0.3 * torch.ones_like(x), -0.2 * torch.ones_like(x)
        rough = call(x, x_next, a, b, c, new + off_new, old + off_old)
        if torch.allclose(rough, c * off_old, rtol=1e-8):
            return (
                "you froze the older output alone; Algorithm 2 freezes the difference "
                "rough_old - rough_new, and m(x) gets the weight b + c"
            )
        if torch.allclose(rough, b * off_new + c * off_old, rtol=1e-8):
            return "nothing depends on x but a * x; the newest output must be m(x), not rough_new"
        if torch.allclose(rough, -c * (off_old - off_new), rtol=1e-8):
            return "right up to its sign; a residual is the left side minus x_next"
        if not torch.allclose(rough, c * (off_old - off_new), rtol=1e-8):
            return "with rough outputs it must be off by c times the error of their difference"
        moved = call(x + 0.1, x_next, a, b, c, new, old)
        if not torch.allclose(moved, 0.1 * a + (b + c) * (m(x + 0.1) - new), rtol=1e-8):
            return "it must follow x: a * x and m(x) change with x, and nothing else does"
    return ""


def _output(solver: Solver, network: Denoiser, i: int, rows: Tensor, x: Tensor) -> Tensor:
    return solver.output(network, x, torch.full_like(rows, i), rows)


def _problem_of_propagate(propagate: Propagate) -> str:
    generator = torch.Generator().manual_seed(0)
    a, w, g = 0.5 + torch.rand(3, 6, dtype=torch.float64, generator=generator)
    e = 1e-2 * torch.randn(6, dtype=torch.float64, generator=generator)
    slopes = a + w * g
    found = torch.as_tensor(propagate(a, w, g, e), dtype=torch.float64)
    if found.numel() != 1:
        return f"propagate returns {found.numel()} numbers; return the error of the noise alone"

    def run(order: range, sign: float, slopes: Tensor) -> Tensor:
        delta = torch.zeros((), dtype=torch.float64)
        for i in order:
            delta = (delta + sign * e[i]) / slopes[i]
        return delta

    back, forth = range(5, -1, -1), range(6)
    if torch.allclose(found, run(back, -1.0, slopes), rtol=1e-9):
        return ""
    if torch.allclose(found, run(back, 1.0, slopes), rtol=1e-9):
        return "the sign is wrong: what the frozen term has too much, a x + w m(x) must have less"
    if torch.allclose(found, run(forth, -1.0, slopes), rtol=1e-9):
        return "inversion starts at the image: go through the steps from the last to the first"
    if torch.allclose(found, run(back, -1.0, a), rtol=1e-9):
        return "x also changes the newest output: divide by a + w * g, not by a alone"
    if torch.allclose(found, -(e / slopes).sum(), rtol=1e-9):
        return "errors do not just add up: each step divides what it inherits, too"
    return "solve (a + w * g) * delta_i = delta_{i+1} - e_i for delta_i, step by step"


def _problem_of_count(count: Count) -> str:
    schedule = Schedule.scaled_linear()
    network = gaussian(schedule, torch.zeros(2, dtype=torch.float64), 0.5)
    noise = torch.ones(1, 2, dtype=torch.float64)
    for n, k, few in ((9, 3, True), (9, 3, False), (3, 10, True)):
        solver = dpm_solver_pp_2m(schedule.grid(n), lower_order_final=few)
        image = sample(network, noise, solver).image
        fine = 999 / n / k
        found = algorithm2(network, image, solver, finder=anderson, tol=1e-10, fine=fine)
        iterations, true = int(found.iterations), int(found.nfe)
        said, high = count(n, k, few, iterations), n - 1 - few
        if said == true:
            continue
        case = f"n = {n}, k = {k}, lower_order_final = {few}"
        hints = {
            true - iterations: "the root finder's iterations cost one evaluation each, too",
            true - 2 * high: "the frozen term needs the outputs at both rough states",
            true - (n - high): "a step of first order pays one naive evaluation for its start, too",
            true - high: "the frozen term needs the outputs at both rough states, not at one",
            true - high * k: "the rough walk crosses two steps: to the wanted state, and on",
            n * (2 * k + 2) + iterations: "steps of first order need no history: one naive step",
            true + (2 * k + 1) * (1 if few else -1): "is the last step of first order, or not?",
        }
        hint = hints.get(said, "walks, outputs at the rough states, and iterations: add them up")
        return f"for {case} the library counts {true}, you {said}; {hint}"
    return ""
