"""Checks of chapter 4: fixed points, the forward step method, folds."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import told

Residual = Callable[[Tensor], Tensor]
Rounds = Callable[[float, float, float, float], int | None]
Solve = Callable[[Residual, Tensor, float, float, float], Tensor]
Fold = Callable[[float, float], tuple[Residual, float]]


def check_rounds(rounds: Rounds) -> bool:
    r"""Check the exercise "how many rounds": the least k with :math:`(|b| L / a)^k \le gain`.

    Args:
        rounds: the reader's function ``(a, b, L, gain) -> k``, None where nothing is promised.

    Returns:
        Whether it passed.
    """
    return told("rounds", "Banach's theorem in one line", _problem_of_rounds(rounds))


def _problem_of_rounds(rounds: Rounds) -> str:
    cases = [(1.3, -0.4, 1.1, 1e-10), (1.05, -0.31, 3.0, 1e-6), (2.0, 0.5, 0.9, 1e-3)]
    for a, b, lipschitz, gain in cases:
        rate = abs(b) * lipschitz / a
        wanted, given = math.ceil(math.log(gain) / math.log(rate)), rounds(a, b, lipschitz, gain)
        case = f"rounds({a}, {b}, {lipschitz}, {gain})"
        if given is None:
            return f"{case} is None, but the map is a contraction; use the absolute value of b"
        if isinstance(given, bool) or given != int(given):
            return f"{case} is {given}; count whole rounds, rounded up"
        if given == wanted - 1:
            return f"{case} is {given}, which leaves a little more than {gain}; round up"
        if given != wanted:
            return f"{case} is {given} instead of {wanted}; a round leaves |b| L / a of the error"
    for a, b, lipschitz in ((1.05, -0.31, 4.0), (1.0, 0.5, 2.0)):
        if rounds(a, b, lipschitz, 1e-3) is not None:
            return (
                f"rounds({a}, {b}, {lipschitz}, 0.001) is a number; "
                "return None if |b| L / a is not below 1"
            )
    return ""


def check_forward(solve: Solve) -> bool:
    r"""Check the exercise "the forward step method", :math:`x \leftarrow x - \rho\,r(x)`.

    Args:
        solve: the reader's function ``(r, x, low, high, tol) -> x``; the symmetric Jacobian of
            ``r`` has its eigenvalues between ``low > 0`` and ``high``.

    Returns:
        Whether it passed.
    """
    return told("solve", "the root, with the best step size", _problem_of_forward(solve))


def _problem_of_forward(solve: Solve) -> str:
    generator = torch.Generator().manual_seed(0)
    for low, high in ((0.5, 6.0), (1.0, 1.5)):
        basis = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))[0]
        values = torch.linspace(low, high, 8, dtype=torch.float64)
        matrix, root = basis * values @ basis.T, basis.sum(1)
        calls, again, tol = 0, 0, 1e-9
        last = torch.full_like(root, math.nan)
        rate = (high - low) / (high + low)
        best = math.ceil(math.log(tol / (high * root.norm().item())) / math.log(rate)) + 1

        def r(x: Tensor, a: Tensor = matrix, zero: Tensor = root, most: int = 40 * best) -> Tensor:
            nonlocal calls, again, last
            calls += 1
            if calls > most:
                raise _TooManyError
            again += int(torch.equal(x, last))
            last = x.clone()
            return (x - zero) @ a

        try:
            x = solve(r, torch.zeros_like(root), low, high, tol)
        except _TooManyError:
            return (
                f"solve called r {calls - 1} times without an end; with eigenvalues from {low} "
                f"to {high} the step size must lie between 0 and {2 / high:.2g}"
            )
        if not isinstance(x, Tensor) or x.shape != root.shape:
            return "solve must return the state x, of the shape that it began with"
        left = ((x - root) @ matrix).norm().item()
        if not math.isfinite(left):
            return f"the iteration blew up; the step size must be below 2 / high = {2 / high:.2g}"
        if left > tol:
            return f"the residual of the result is {left:.1g}; go on until it is at most tol"
        if again > 0.3 * calls:
            return (
                f"{again} of {calls} evaluations are at the state before; call r once, and store it"
            )
        if calls > 1.2 * best + 3:
            return (
                f"solved, but with {calls} evaluations where {best} are enough; "
                "for which rho are |1 - rho low| and |1 - rho high| equal?"
            )
    return ""


class _TooManyError(RuntimeError):
    """The reader's loop does not end."""


def check_fold(fold: Fold) -> bool:
    """Check the exercise "make a fold": one number, one step, three states.

    Args:
        fold: the reader's function ``(a, b) -> (network, target)``.

    Returns:
        Whether it passed.
    """
    return told("fold", "three states, and a network hardly too steep", _problem_of_fold(fold))


def _problem_of_fold(fold: Fold) -> str:
    for a, b in ((1.06, -0.31), (1.2, -0.5)):
        given = fold(a, b)
        if not isinstance(given, tuple) or len(given) != 2:
            return "fold must return two things, the network and the target"
        network, target = given
        x = torch.linspace(-10, 10, 20_002, dtype=torch.float64)
        m = network(x)
        if not isinstance(m, Tensor) or m.shape != x.shape:
            return "the network must turn a tensor of numbers into one of the same shape"
        critical = a / abs(b)
        steepest = (m.diff() / x.diff()).abs().max().item()
        if steepest <= critical:
            return (
                f"the slope of the network is at most {steepest:.3g}, not above "
                f"a / |b| = {critical:.3g}: Banach's theorem forbids a second root"
            )
        residual = a * x + b * m - target
        roots = int((residual[1:] * residual[:-1] < 0).sum())
        falls = (a * x + b * m).diff() < 0
        if roots < 3 and not falls.any():
            return "the step still rises everywhere; with b < 0 the network must rise steeply"
        if roots < 3 and falls.all():
            return "the step falls everywhere; far out it must rise, so the network must flatten"
        if roots < 3:
            return f"the step folds, but {target} is hit {roots} time(s); move the target"
        if steepest > 1.5 * critical:
            return (
                f"three roots, but with a slope of {steepest:.3g}; "
                f"stay below 1.5 a / |b| = {1.5 * critical:.3g}"
            )
    return ""
