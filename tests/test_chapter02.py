"""The exercises of chapter 2: right answers pass, typical wrong ones get their own hint."""

from __future__ import annotations

import math

import pytest
import torch

from invlib.exercises.chapter02 import check_ddim, check_order, check_probe, check_second


def ddim(alpha, sigma):
    a = alpha[1:] / alpha[:-1]
    return a, sigma[1:] - a * sigma[:-1]


def parts(alpha, sigma, i):
    lam = (alpha / sigma).log()
    h, old = lam[i + 1] - lam[i], lam[i] - lam[i - 1]
    return sigma[i + 1] / sigma[i], -alpha[i + 1] * torch.expm1(-h), old / h, h


def second(alpha, sigma, i, power=1, factor=0.5, sign=-1):
    a, first, r, _ = parts(alpha, sigma, i)
    share = factor / r**power
    return a, first * (1 + share), sign * first * share


def heun(alpha, sigma, i):
    a, first, r, h = parts(alpha, sigma, i)
    phi_2 = alpha[i + 1] * (torch.expm1(-h) / h + 1)
    return a, first + phi_2 / r, -phi_2 / r


def order(run, end, steps):
    x = torch.tensor([math.log(n) for n in steps], dtype=torch.float64)
    y = torch.stack([(run(n) - end).norm().log() for n in steps])
    return -(((x - x.mean()) * y).sum() / ((x - x.mean()) ** 2).sum())


def probe(step, n):
    inputs = torch.eye(n + 1, dtype=torch.float64)
    states = [inputs[0]]
    for i in range(n):
        states.append(step(i, states[-1], list(inputs[1 : i + 2])))
    rows = torch.stack(states)
    return rows[:, 0], rows[:, 1:]


def one_step(step, n):
    inputs = torch.eye(n + 1, dtype=torch.float64)
    rows = [inputs[0], *(step(i, inputs[0], list(inputs[1 : i + 2])) for i in range(n))]
    return probe(step, n)[0], torch.stack(rows)[:, 1:]


def one_step_a(step, n):
    inputs = torch.eye(n + 1, dtype=torch.float64)
    rows = [inputs[0], *(step(i, inputs[0], list(inputs[1 : i + 2])) for i in range(n))]
    return torch.stack(rows)[:, 0], probe(step, n)[1]


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (check_ddim, ddim),
        (check_second, second),
        (check_order, order),
        (check_order, lambda run, end, steps: order(run, end, steps).item()),
        (check_probe, probe),
    ],
)
def test_a_right_answer_passes(check, answer, capsys) -> None:
    assert check(answer)
    assert capsys.readouterr().out.startswith("ok  ")


def data_prediction(alpha, sigma):
    return sigma[1:] / sigma[:-1], alpha[1:] - sigma[1:] / sigma[:-1]


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        (check_ddim, lambda *_: None, "return a, b"),
        (check_ddim, lambda alpha, sigma: (alpha, sigma), "has 10 steps"),
        (check_ddim, data_prediction, "data prediction"),
        (check_ddim, lambda x, s: (x[:-1] / x[1:], s[1:]), "upside down"),
        (check_ddim, lambda x, s: (x[1:] * x[:-1], s[1:]), "a is wrong"),
        (check_ddim, lambda x, s: (ddim(x, s)[0], -ddim(x, s)[1]), "wrong sign"),
        (check_ddim, lambda x, s: (ddim(x, s)[0], s[1:]), "b is wrong"),
        (check_second, lambda *_: None, "return a, b, c"),
        (check_second, lambda *_: (None, None, None), "return a, b, c"),
        (check_second, lambda *x: (1.0, *second(*x)[1:]), "a is wrong"),
        (check_second, lambda *x: second(*x, sign=1), "a sign is wrong"),
        (check_second, lambda *x: (second(*x)[0], *(-v for v in second(*x)[1:])), "a sign is"),
        (check_second, heun, "heun"),
        (check_second, lambda *x: (*second(*x)[:2], 0.0), "b + c is wrong"),
        (check_second, lambda *x: second(*x, factor=1), "1/(2r), not 1/r"),
        (check_second, lambda *x: second(*x, power=-1), "r is upside down"),
        (check_second, lambda *x: second(*x, factor=0.3), "not the split"),
        (check_order, lambda *_: None, "returns a NoneType"),
        (check_order, lambda *x: -order(*x), "the sign is wrong"),
        (check_order, lambda *x: 2 * order(*x), "squared errors"),
        (check_order, lambda *_: 1.0, "give 1.00"),
        (check_order, lambda *_: 7.0, "take the slope"),
        (check_probe, lambda *_: None, "return A, B"),
        (check_probe, lambda step, n: step(0, 1.0, []), "step 0 wants a tensor"),
        (check_probe, lambda step, n: (probe(step, n)[0][1:], probe(step, n)[1]), "a row for"),
        (check_probe, one_step_a, "one-step numbers a"),
        (check_probe, lambda step, n: (2 * probe(step, n)[0], probe(step, n)[1]), "A is wrong"),
        (check_probe, one_step, "one-step numbers b"),
        (check_probe, lambda step, n: (probe(step, n)[0], -probe(step, n)[1]), "B is wrong"),
    ],
)
def test_a_wrong_answer_gets_a_hint(check, attempt, hint, capsys) -> None:
    assert not check(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ")
    assert hint in line


def test_a_sampler_is_measured_too(capsys) -> None:
    def made_up_only(run, end, steps):
        return order(run, end, steps) if end[0, 0] == 3 else 5.0

    assert not check_order(made_up_only)
    assert "a sampler of order 1 gives 5.00" in capsys.readouterr().out
