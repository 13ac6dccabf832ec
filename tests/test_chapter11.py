"""The exercises of chapter 11: right answers pass, usual mistakes get a hint of their own."""

from __future__ import annotations

import math

import pytest
import torch

from invlib.exercises.chapter11 import check_midpoint, check_velocity, check_weight


def velocity(x, epsilon, alpha, sigma):
    size = alpha + sigma
    return x / size, sigma / size, epsilon - (x - sigma * epsilon) / alpha


def changed(place, change):
    """The right velocity, with one of its three results changed."""

    def answer(*given):
        result = list(velocity(*given))
        result[place] = change(result, *given)
        return tuple(result)

    return answer


def undo(v, x_next, s, s_next, rounds):
    d, x = s_next - s, x_next
    for _ in range(rounds):
        x = x_next - d * v(x + d / 2 * v(x, s), (s + s_next) / 2)
    return x


def repeated(update):
    """A fixed-point iteration of ``update(v, x, x_next, d, s, s_next)``."""

    def answer(v, x_next, s, s_next, rounds):
        x = x_next
        for _ in range(rounds):
            x = update(v, x, x_next, s_next - s, s, s_next)
        return x

    return answer


def from_the_newest(v, x, s, s_next, rounds):
    d = s_next - s
    for _ in range(rounds):
        x = x - d * v(x + d / 2 * v(x, s), s + d / 2)
    return x


def weight(gamma, steps):
    return math.prod(1 - gamma / j for j in range(1, steps + 1))


@pytest.mark.parametrize(
    ("check", "answer"),
    [(check_velocity, velocity), (check_midpoint, undo), (check_weight, weight)],
)
def test_a_right_answer_passes(check, answer, capsys) -> None:
    assert check(answer)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        (check_velocity, lambda *_: None, "three things"),
        (check_velocity, changed(2, lambda r, *_: 1.0), "the velocity must be a tensor"),
        (check_velocity, changed(1, lambda r, x, e, a, s: s), "add up to 1"),
        (check_velocity, changed(1, lambda r, x, e, a, s: s / a), "find x / (a number)"),
        (check_velocity, changed(0, lambda r, x, e, a, s: x), "still x"),
        (check_velocity, changed(0, lambda r, x, e, a, s: x / a), "not on the straight path"),
        (check_velocity, changed(2, lambda r, *_: -r[2]), "wrong sign"),
        (check_velocity, changed(2, lambda r, x, e, a, s: e - x), "a state is not the data"),
        (check_velocity, changed(2, lambda r, x, e, a, s: r[2] / (a + s)), "only the state"),
        (check_velocity, changed(2, lambda r, *_: r[2] + 1), "with the network's x_0"),
        (check_midpoint, lambda *_: None, "must return the state"),
        (check_midpoint, lambda v, x, *_: x, "unchanged"),
        (check_midpoint, from_the_newest, "subtract from x_next"),
        (check_midpoint, lambda v, x, *_: x / 0, "blew up"),
        (
            check_midpoint,
            repeated(
                lambda v, x, n, d, s, e: n - d * v(n - d / 2 * v(n, e), (s + e) / 2),
            ),
            "RF-Solver",
        ),
        (check_midpoint, repeated(lambda v, x, n, d, s, e: n - d * v(x, s)), "step of Euler"),
        (
            check_midpoint,
            repeated(lambda v, x, n, d, s, e: n + d * v(x + d / 2 * v(x, s), (s + e) / 2)),
            "wrong direction",
        ),
        (
            check_midpoint,
            repeated(lambda v, x, n, d, s, e: n - d * v(x - d / 2 * v(x, s), (s + e) / 2)),
            "half-way point lies",
        ),
        (check_midpoint, lambda v, x, s, e, rounds: undo(v, x, s, e, 2), "missed by"),
        (check_weight, lambda *_: None, "return a number"),
        (check_weight, lambda *case: 1 - weight(*case), "random target"),
        (check_weight, lambda gamma, steps: (1 - gamma) ** steps, "less near the image"),
        (check_weight, lambda gamma, steps: (1 - gamma / steps) ** steps, "grows from step"),
        (
            check_weight,
            lambda gamma, steps: math.prod(1 - gamma / j for j in range(2, steps + 1)),
            "is missing",
        ),
        (
            check_weight,
            lambda gamma, steps: weight(gamma, steps) * (1 - gamma / steps),
            "a factor too many",
        ),
        (check_weight, lambda *_: 0.77, "keeps"),
    ],
)
def test_a_wrong_answer_gets_a_hint(check, attempt, hint, capsys) -> None:
    assert not check(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ")
    assert hint in line


def test_the_weight_of_long_walks_goes_to_zero() -> None:
    big = 10_000
    limit = big**-0.5 / math.gamma(0.5)
    assert torch.isclose(torch.tensor(weight(0.5, big)), torch.tensor(limit), rtol=1e-3)
