"""The exercise of chapter 3: the right answer passes, usual mistakes get a hint of their own."""

from __future__ import annotations

import pytest

from invlib.exercises.chapter03 import check_undo


def solved(network, x_next, a, b, t, rounds):
    x = x_next
    for _ in range(rounds):
        x = (x_next - b * network(x, t)) / a
    return x


def always_at_x_next(network, x_next, a, b, t, rounds):
    return (x_next - b * network(x_next, t)) / a


def wrong_sign(network, x_next, a, b, t, rounds):
    return (x_next + b * network(x_next, t)) / a


def stops_early(network, x_next, a, b, t, rounds):
    return solved(network, x_next, a, b, t, min(rounds, 3))


def runs_off(network, x_next, a, b, t, rounds):
    x = x_next
    for _ in range(rounds):
        x = (x - b * network(x, t)) / a
    return x


def test_the_solution_passes(capsys) -> None:
    assert check_undo(solved)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (lambda *_: None, "returns a NoneType"),
        (lambda network, x_next, *_: x_next[0], "returns shape"),
        (lambda network, x_next, *_: x_next, "back unchanged"),
        (wrong_sign, "not the naive step"),
        (always_at_x_next, "at the newest x"),
        (stops_early, "is not undone"),
        (runs_off, "not the running x"),
    ],
)
def test_a_wrong_attempt_gets_a_hint(attempt, hint, capsys) -> None:
    assert not check_undo(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ")
    assert hint in line
