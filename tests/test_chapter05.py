"""The exercise checks of chapter 5: a right answer passes, a typical wrong one gets a hint."""

from __future__ import annotations

import pytest

from invlib.exercises.chapter05 import check_count, check_frozen_residual, check_propagate


def residual(m, x, x_next, a, b, c, rough_new, rough_old):
    return a * x + (b + c) * m(x) + c * (rough_old - rough_new) - x_next


def older_alone(m, x, x_next, a, b, c, rough_new, rough_old):
    return a * x + b * m(x) + c * rough_old - x_next


def all_frozen(m, x, x_next, a, b, c, rough_new, rough_old):
    return a * x + b * rough_new + c * rough_old - x_next


def wrong_sign(m, x, x_next, a, b, c, rough_new, rough_old):
    return a * x + (b + c) * m(x) - c * (rough_old - rough_new) - x_next


def newest_too_light(m, x, x_next, a, b, c, rough_new, rough_old):
    return a * x + b * m(x) + c * (rough_old - rough_new) - x_next


def no_target(m, x, x_next, a, b, c, rough_new, rough_old):
    return a * x + (b + c) * m(x) + c * (rough_old - rough_new)


def twice(m, x, x_next, a, b, c, rough_new, rough_old):
    return 2 * residual(m, x, x_next, a, b, c, rough_new, rough_old)


def ignores_x(m, x, x_next, a, b, c, rough_new, rough_old):
    return a * x + (b + c) * rough_new + c * (rough_old - rough_new) - x_next


def test_the_residual_passes(capsys) -> None:
    assert check_frozen_residual(residual)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (lambda *_: None, "returns a NoneType"),
        (lambda *args: residual(*args).norm(), "returns shape"),
        (no_target, "but x_next"),
        (wrong_sign, "look at the signs"),
        (older_alone, "froze the older output alone"),
        (all_frozen, "must be m(x)"),
        (ignores_x, "must be m(x)"),
        (twice, "off by c times"),
        (lambda *args: -residual(*args), "up to its sign"),
        (newest_too_light, "the sum of the row"),
    ],
)
def test_a_wrong_residual_gets_a_hint(attempt, hint, capsys) -> None:
    assert not check_frozen_residual(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ") and hint in line


def propagate(a, w, g, e, *, sign=-1.0, forth=False, slope=None):
    delta = 0.0
    order = range(len(a)) if forth else reversed(range(len(a)))
    for i in order:
        delta = (delta + sign * e[i]) / (a[i] + w[i] * g[i] if slope is None else slope[i])
    return delta


def test_the_propagation_passes(capsys) -> None:
    assert check_propagate(propagate)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (lambda a, w, g, e: e, "numbers; return"),
        (lambda a, w, g, e: propagate(a, w, g, e, sign=1.0), "sign is wrong"),
        (lambda a, w, g, e: propagate(a, w, g, e, forth=True), "starts at the image"),
        (lambda a, w, g, e: propagate(a, w, g, e, slope=a), "not by a alone"),
        (lambda a, w, g, e: -(e / (a + w * g)).sum(), "do not just add up"),
        (lambda a, w, g, e: 0.0, "step by step"),
    ],
)
def test_a_wrong_propagation_gets_a_hint(attempt, hint, capsys) -> None:
    assert not check_propagate(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ") and hint in line


def count(n, k, lower_order_final, iterations):
    high = n - 2 if lower_order_final else n - 1
    return high * (2 * k + 2) + (n - high) + iterations


def test_the_count_passes(capsys) -> None:
    assert check_count(count)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (lambda n, k, few, its: count(n, k, few, 0), "iterations cost"),
        (lambda n, k, few, its: (n - 1 - few) * 2 * k + 1 + few + its, "both rough states"),
        (lambda n, k, few, its: (n - 1 - few) * (k + 2) + 1 + few + its, "crosses two steps"),
        (lambda n, k, few, its: n * (2 * k + 2) + its, "no history"),
        (lambda n, k, few, its: count(n, k, False, its), "is the last step"),
        (lambda n, k, few, its: count(n, k, True, its), "is the last step"),
        (lambda n, k, few, its: 0, "add them up"),
    ],
)
def test_a_wrong_count_gets_a_hint(attempt, hint, capsys) -> None:
    assert not check_count(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ") and hint in line
