"""Exercise checks of chapter 10: a right solution passes, a wrong one gets its own hint."""

from __future__ import annotations

import pytest

from invlib.exercises.chapter10 import check_enlarged, check_undo_edict, check_undo_shear


def undo_shear(x, y_new, k, m, c, f):
    return (y_new - m * x - c * f(x)) / k


def undo_edict(x, y, a, b, p, epsilon):
    y = (y - (1 - p) * x) / p
    x = (x - (1 - p) * y) / p
    y = (y - b * epsilon(x)) / a
    x = (x - b * epsilon(y)) / a
    return x, y


def averaging_first_line_first(x, y, a, b, p, epsilon):
    x = (x - (1 - p) * y) / p
    y = (y - (1 - p) * x) / p
    y = (y - b * epsilon(x)) / a
    return (x - b * epsilon(y)) / a, y


def coupled_in_the_wrong_order(x, y, a, b, p, epsilon):
    y = (y - (1 - p) * x) / p
    x = (x - (1 - p) * y) / p
    x = (x - b * epsilon(y)) / a
    return x, (y - b * epsilon(x)) / a


def x_from_the_new_y(x, y, a, b, p, epsilon):
    y = (y - (1 - p) * x) / p
    x = (x - (1 - p) * y) / p
    old = y
    y = (y - b * epsilon(x)) / a
    return (x - b * epsilon(old)) / a, y


def calls_too_often(x, y, a, b, p, epsilon):
    epsilon(x)
    return undo_edict(x, y, a, b, p, epsilon)


def enlarged(p, steps):
    return p ** (-2 * steps)


@pytest.mark.parametrize(
    ("check", "solution"),
    [
        (check_undo_shear, undo_shear),
        (check_undo_edict, undo_edict),
        (check_enlarged, enlarged),
    ],
)
def test_the_solution_passes(check, solution, capsys) -> None:
    assert check(solution)
    assert capsys.readouterr().out.startswith("ok  ")


SHEARS = [
    (lambda *_: None, "returns a NoneType"),
    (lambda x, y_new, *_: y_new[0], "returns shape"),
    (lambda x, y_new, k, m, c, f: (y_new - m * x) / k, "never called"),
    (lambda x, y_new, k, m, c, f: (y_new - m * x - c * f(y_new)) / k, "another point than x"),
    (lambda x, y_new, k, m, c, f: k * (y_new - m * x - c * f(x)), "divide by k"),
    (lambda x, y_new, k, m, c, f: (y_new + m * x + c * f(x)) / k, "solve the line"),
]
EDICTS = [
    (lambda *_: None, "must return two states"),
    (lambda x, y, *_: (x[0], y[0]), "two tensors of shape"),
    (lambda x, y, *_: (x, y), "come back unchanged"),
    (averaging_first_line_first, "look at the averaging"),
    (coupled_in_the_wrong_order, "look at the coupled lines"),
    (x_from_the_new_y, "only x is wrong"),
    (calls_too_often, "where two are enough"),
]
FACTORS = [
    (lambda p, steps: None, "not a NoneType"),
    (lambda p, steps: float("nan"), "positive and finite"),
    (lambda p, steps: p ** (2 * steps), "that is sampling"),
    (lambda p, steps: p**-steps, "two averaging lines"),
    (lambda p, steps: 1.0, "second eigenvalue"),
]


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        *((check_undo_shear, *case) for case in SHEARS),
        *((check_undo_edict, *case) for case in EDICTS),
        *((check_enlarged, *case) for case in FACTORS),
    ],
)
def test_a_wrong_attempt_gets_a_hint(check, attempt, hint, capsys) -> None:
    assert not check(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ")
    assert hint in line
