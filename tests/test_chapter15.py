"""The exercises of chapter 15: right answers pass, usual mistakes get a hint of their own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from invlib.exercises.chapter15 import (
    check_log_density,
    check_posterior,
    check_slope,
    check_threshold,
)


def weights(z, s):
    return -z.square() / 2 - 0.5 * math.log(2 * math.pi) - s.abs().log()


def log_density(z, s):
    return weights(z, s).logsumexp(0)


def posterior(log_p, prior):
    return (log_p + prior.log()).softmax(0)


def tail(p):
    return -torch.special.ndtri(torch.tensor(p, dtype=torch.float64)).item()


def threshold(seeds, alpha):
    return tail(alpha / seeds)


def slope(z, jacobian, change):
    return -torch.linalg.solve(jacobian.T, z) @ change


def signed(z, s):
    return (weights(z, s) + s.abs().log() - s.log()).logsumexp(0)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (check_log_density, log_density),
        (check_posterior, posterior),
        (check_threshold, threshold),
        (check_slope, slope),
    ],
)
def test_a_right_answer_passes(check: Any, answer: Any, capsys: Any) -> None:
    assert check(answer)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        (check_log_density, lambda z, s: 1.0, "with one number"),
        (check_log_density, lambda z, s: weights(z, s), "shape (3,)"),
        (check_log_density, signed, "its size counts"),
        (check_log_density, lambda z, s: weights(z, s).sum(), "of a product"),
        (check_log_density, lambda z, s: weights(z, s).max(), "one of the noises"),
        (check_log_density, lambda z, s: weights(z, 1 / s).logsumexp(0), "divide by the slope"),
        (check_log_density, lambda z, s: weights(z, s / s).logsumexp(0), "slopes are missing"),
        (check_log_density, lambda z, s: log_density(z, s).exp(), "return its logarithm"),
        (check_log_density, lambda z, s: log_density(z, s * 0.4), "right is"),
        (
            check_log_density,
            lambda z, s: log_density(z, s) + 0.5 * math.log(2 * math.pi),
            "factor of its own",
        ),
        (check_log_density, lambda z, s: weights(z, s).exp().sum().log(), "stay with logarithms"),
        (check_posterior, lambda log_p, prior: None, "one number a candidate"),
        (check_posterior, lambda log_p, prior: log_p[:2], "shape (2,)"),
        (
            check_posterior,
            lambda log_p, prior: log_p.float().exp() / log_p.float().exp().sum(),
            "subtract the largest",
        ),
        (check_posterior, lambda log_p, prior: log_p.softmax(0), "priors are missing"),
        (check_posterior, lambda log_p, prior: (log_p + prior).softmax(0), "are added to log_p"),
        (check_posterior, lambda log_p, prior: prior * log_p.softmax(0), "add up to"),
        (check_posterior, lambda log_p, prior: prior, "right is"),
        (check_threshold, lambda seeds, alpha: None, "return a number"),
        (check_threshold, lambda seeds, alpha: tail(alpha), "may have luck"),
        (check_threshold, lambda seeds, alpha: tail(alpha / seeds / 2), "one tail"),
        (check_threshold, lambda seeds, alpha: -threshold(seeds, alpha), "upper tail"),
        (check_threshold, lambda seeds, alpha: math.sqrt(2 * math.log(seeds)), "is not alpha"),
        (check_slope, lambda z, j, c: 0.0, "with one number"),
        (check_slope, lambda z, j, c: -slope(z, j, c), "the sign"),
        (check_slope, lambda z, j, c: 2 * slope(z, j, c), "no factor 2"),
        (check_slope, lambda z, j, c: slope(z, j.T, c), "turned round"),
        (check_slope, lambda z, j, c: -z @ j @ c, "do not multiply"),
        (check_slope, lambda z, j, c: -z @ c, "right is"),
    ],
)
def test_a_wrong_answer_gets_its_own_hint(check: Any, attempt: Any, hint: str, capsys: Any) -> None:
    assert not check(attempt)
    said = capsys.readouterr().out
    assert said.startswith("not yet: ")
    assert hint in said
