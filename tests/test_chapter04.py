"""The exercises of chapter 4: right answers pass, usual mistakes get a hint of their own."""

from __future__ import annotations

import math

import pytest
import torch

from invlib.exercises.chapter04 import check_fold, check_forward, check_rounds


def rounds(a, b, lipschitz, gain):
    kappa = abs(b) * lipschitz / a
    return math.ceil(math.log(gain) / math.log(kappa)) if kappa < 1 else None


def forward(step_size, slack=1.0):
    """The forward step method with a step size that depends on both limits."""

    def solve(r, x, low, high, tol):
        residual = r(x)
        while residual.norm() > tol * slack:
            x = x - step_size(low, high) * residual
            residual = r(x)
        return x

    return solve


def fold(factor, target=0.0):
    def answer(a, b):
        return (lambda x: factor * a / abs(b) * torch.tanh(x)), target

    return answer


def best(low, high):
    return 2 / (low + high)


@pytest.mark.parametrize(
    ("check", "answer"),
    [(check_rounds, rounds), (check_forward, forward(best)), (check_fold, fold(1.25))],
)
def test_a_right_answer_passes(check, answer, capsys) -> None:
    assert check(answer)
    assert capsys.readouterr().out.startswith("ok  ")


def asks_twice(r, x, low, high, tol):
    while r(x).norm() > tol:
        x = x - best(low, high) * r(x)
    return x


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        (check_rounds, lambda *_: 1, "instead of"),
        (check_rounds, lambda *_: None, "absolute value of b"),
        (check_rounds, lambda a, b, *rest: rounds(a, abs(b), *rest) - 1, "round up"),
        (check_rounds, lambda *_: 2.5, "whole rounds"),
        (check_rounds, lambda *case: rounds(*case) or 1000, "return None"),
        (check_forward, lambda r, x, *_: None, "must return the state"),
        (check_forward, lambda r, x, *_: x, "go on until"),
        (check_forward, asks_twice, "call r once"),
        (check_forward, lambda r, x, *_: x * torch.inf, "blew up"),
        (check_forward, forward(lambda low, high: 3 / high), "blew up"),
        (check_forward, forward(lambda low, high: 0.0), "without an end"),
        (check_forward, forward(lambda low, high: 1 / high), "are enough"),
        (check_forward, forward(best, 1e3), "go on until"),
        (check_fold, lambda a, b: torch.tanh, "two things"),
        (check_fold, lambda a, b: (lambda x: 1.3 * a / abs(b) * x, 0.0), "falls everywhere"),
        (check_fold, lambda a, b: (lambda x: 1.0, 0.0), "same shape"),
        (check_fold, fold(0.5), "forbids a second root"),
        (check_fold, fold(-1.25), "still rises everywhere"),
        (check_fold, fold(1.25, 9.0), "move the target"),
        (check_fold, fold(3.0), "stay below"),
    ],
)
def test_a_wrong_answer_gets_a_hint(check, attempt, hint, capsys) -> None:
    assert not check(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ")
    assert hint in line
