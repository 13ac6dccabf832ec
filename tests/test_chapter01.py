"""The exercise checks of chapter 1: a right solution passes, a wrong one gets its own hint."""

from __future__ import annotations

import pytest
import torch

from invlib.exercises.chapter01 import check_flow, check_levels, check_noise


def levels(lambda_):
    return torch.sigmoid(2 * lambda_).sqrt(), torch.sigmoid(-2 * lambda_).sqrt()


def lossy(lambda_):
    alpha = torch.sigmoid(2 * lambda_).sqrt()
    return alpha, (1 - alpha**2).sqrt()


def overflowing(lambda_):
    up = torch.exp(lambda_)
    down = torch.exp(-lambda_)
    return up / (1 + up**2).sqrt(), down / (1 + down**2).sqrt()


def half(lambda_):
    return levels(lambda_ / 2)


def noise(x, alpha, sigma, mean, std):
    return sigma * (x - alpha * mean) / (alpha**2 * std**2 + sigma**2)


def flow(x, start, end, mean, std):
    before, after = ((a**2 * std**2 + s**2).sqrt() for a, s in (start, end))
    return end[0] * mean + after / before * (x - start[0] * mean)


def in_u(x, start, end, mean, std):
    before, after = ((std**2 + (s / a) ** 2).sqrt() for a, s in (start, end))
    return end[0] * mean + after / before * (x - start[0] * mean)


@pytest.mark.parametrize(
    ("check", "solution"), [(check_levels, levels), (check_noise, noise), (check_flow, flow)]
)
def test_the_solution_passes(check, solution, capsys) -> None:
    assert check(solution) is True
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        (check_levels, lambda lam: None, "returns a NoneType"),
        (check_levels, lambda lam: (lam[0], lam), "returns shape"),
        (check_levels, lambda lam: (lam, lam), "is not 1"),
        (check_levels, lambda lam: levels(lam)[::-1], "swapped"),
        (check_levels, lambda lam: levels(2 * lam), "is not lambda"),
        (check_levels, half, "exp(lambda / 2)"),
        (check_levels, lossy, "lost its digits"),
        (check_levels, overflowing, "exp overflows"),
        (check_noise, lambda *_: None, "returns a NoneType"),
        (check_noise, lambda x, *_: x[0], "returns shape"),
        (check_noise, lambda x, *_: x, "not the noise"),
        (check_noise, lambda x, a, s, m, d: s * (x - m) / (a**2 * d**2 + s**2), "alpha * mean"),
        (check_noise, lambda x, a, s, m, d: noise(x, a, s, m, d) / s, "one factor is missing"),
        (check_noise, lambda x, a, s, m, d: -noise(x, a, s, m, d) / s, "this is the score"),
        (check_noise, lambda x, a, s, m, d: -noise(x, a, s, m, d), "the sign is wrong"),
        (
            check_noise,
            lambda x, a, s, m, d: (x - s * noise(x, a, s, m, d)) / a,
            "this is the data prediction",
        ),
        (
            check_noise,
            lambda x, a, s, m, d: s * (x - a * m) / (a * d + s) ** 2,
            "variances add",
        ),
        (check_noise, lambda x, a, s, m, d: noise(x, a, s, m, d.sqrt()), "standard deviation"),
        (check_noise, lambda x, a, s, m, d: noise(x, a, s, m, d / a), "scaled by alpha"),
        (check_flow, lambda *_: None, "returns a NoneType"),
        (check_flow, lambda x, *_: x[0], "returns shape"),
        (check_flow, lambda x, *_: x, "not the flow"),
        (check_flow, lambda x, a, b, m, d: flow(x, a, b, 0 * m, d), "the centre moves too"),
        (
            check_flow,
            lambda x, a, b, m, d: flow(x, a, b, m, d) - b[0] * m,
            "put the centre back",
        ),
        (
            check_flow,
            lambda x, a, b, m, d: (
                b[0] * m
                + (b[0] ** 2 * d**2 + b[1] ** 2) / (a[0] ** 2 * d**2 + a[1] ** 2) * (x - a[0] * m)
            ),
            "square root",
        ),
        (
            check_flow,
            lambda x, a, b, m, d: b[0] * m + flow(x - a[0] * m, b, a, 0 * m, d),
            "upside down",
        ),
        (check_flow, in_u, "factor for u"),
        (check_flow, lambda x, a, b, m, d: m + flow(x - m, a, b, 0 * m, d), "is alpha * mean"),
    ],
)
def test_a_wrong_attempt_gets_a_hint(check, attempt, hint, capsys) -> None:
    assert check(attempt) is False
    line = capsys.readouterr().out
    assert line.startswith("not yet: ")
    assert hint in line
