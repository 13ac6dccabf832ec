"""Checks of the exercises in the chapter "Diffusion models as ODEs"."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import told, unlike

Levels = Callable[[Tensor], tuple[Tensor, Tensor]]
Noise = Callable[[Tensor, float, float, Tensor, Tensor], Tensor]
Pair = tuple[float, float]
Flow = Callable[[Tensor, Pair, Pair, Tensor, Tensor], Tensor]


def check_levels(levels: Levels) -> bool:
    r"""Check the exercise "signal and noise from lambda".

    Args:
        levels: the reader's function ``lambda -> (alpha, sigma)``.

    Returns:
        Whether it passed.
    """
    return told("levels", "right, also where one of them is tiny", _problem_of_levels(levels))


def check_noise(noise: Noise) -> bool:
    r"""Check the exercise "the noise prediction of a Gaussian".

    Args:
        noise: the reader's function ``(x, alpha, sigma, mean, std) -> epsilon``.

    Returns:
        Whether it passed.
    """
    return told("noise", "the exact prediction in every coordinate", _problem_of_noise(noise))


def check_flow(flow: Flow) -> bool:
    r"""Check the exercise "the flow of a Gaussian".

    Args:
        flow: the reader's function ``(x, start, end, mean, std) -> x``.

    Returns:
        Whether it passed.
    """
    return told("flow", "exact from any level to any other, and back", _problem_of_flow(flow))


def _problem_of_levels(levels: Levels) -> str:
    lambda_ = torch.linspace(-3, 3, 13, dtype=torch.float64)
    result = levels(lambda_.clone())
    if not isinstance(result, tuple) or len(result) != 2:
        return f"levels returns a {type(result).__name__}; it must return alpha, sigma"
    alpha, sigma = result
    for value in result:
        problem = unlike("levels", value, lambda_, "it must end with `return`")
        if problem:
            return problem
    if not torch.allclose(alpha**2 + sigma**2, torch.ones_like(alpha)):
        return "alpha**2 + sigma**2 is not 1; use this to eliminate one of them"
    found = torch.log(alpha / sigma)
    if torch.allclose(found, -lambda_):
        return "signal and noise are swapped: lambda is large where the signal is strong"
    if torch.allclose(found, lambda_ / 2):
        return "alpha / sigma is exp(lambda / 2); its square, alpha**2 / sigma**2, is exp(2 lambda)"
    if not torch.allclose(found, lambda_):
        return "log(alpha / sigma) is not lambda"
    for extreme in (20.0, 400.0):
        pair = levels(torch.tensor([-extreme, extreme], dtype=torch.float64))
        large = torch.stack([pair[0][1], pair[1][0]])
        if not torch.allclose(large, torch.ones_like(large)):
            return (
                f"at lambda = {extreme:g} or -{extreme:g} the larger level is not 1; "
                "exp overflows, torch.sigmoid does not"
            )
        small = torch.stack([pair[0][0], pair[1][1]])
        if extreme == 20 and ((small / math.exp(-extreme) - 1).abs() > 1e-9).any():
            return (
                "at lambda = 20 or -20 the smaller level has lost its digits; "
                "compute it from lambda, not as sqrt(1 - square of the other)"
            )
    return ""


def _gaussian() -> tuple[Tensor, Tensor, Tensor]:
    """States, mean and standard deviations to try."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, dtype=torch.float64, generator=generator)
    mean = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    std = torch.tensor([0.5, 1.5, 0.1], dtype=torch.float64)
    return x, mean, std


def _problem_of_noise(noise: Noise) -> str:
    x, mean, std = _gaussian()
    for alpha, sigma in ((0.8, 0.6), (0.28, 0.96)):
        result = noise(x.clone(), alpha, sigma, mean.clone(), std.clone())
        problem = unlike("noise", result, x, "it must end with `return`")
        if problem:
            return problem
        variance = alpha**2 * std**2 + sigma**2
        rest = (x - alpha * mean) / variance
        mistakes = (
            (sigma * (x - mean) / variance, "the centre of x is alpha * mean, not mean"),
            (rest, "one factor is missing: epsilon is sigma times what you return"),
            (-rest, "this is the score; epsilon is -sigma times it"),
            (-sigma * rest, "the sign is wrong: too large an x has positive noise"),
            (mean + alpha * std**2 * rest, "this is the data prediction; solve x for epsilon"),
            (
                sigma * (x - alpha * mean) / (alpha * std + sigma) ** 2,
                "variances add, standard deviations do not",
            ),
            (
                sigma * (x - alpha * mean) / (alpha**2 * std + sigma**2),
                "std is a standard deviation; the variance of alpha * data is alpha**2 * std**2",
            ),
            (
                sigma * (x - alpha * mean) / (std**2 + sigma**2),
                "the data in x are scaled by alpha, and so is their spread",
            ),
        )
        for wrong, hint in mistakes:
            if torch.allclose(result, wrong, rtol=1e-9):
                return hint
        if not torch.allclose(result, sigma * rest, rtol=1e-9):
            return "not the noise of a Gaussian; begin with the variance of x in each coordinate"
    return ""


def _problem_of_flow(flow: Flow) -> str:
    x, mean, std = _gaussian()
    start, end = (0.28, 0.96), (0.96, 0.28)
    for here, there in ((start, end), (end, start)):
        result = flow(x.clone(), here, there, mean.clone(), std.clone())
        problem = unlike("flow", result, x, "it must end with `return`")
        if problem:
            return problem
        before, after = ((a**2 * std**2 + s**2).sqrt() for a, s in (here, there))
        centred = x - here[0] * mean
        goal = there[0] * mean + after / before * centred
        ratio_here, ratio_there = (
            (std**2 + (s / a) ** 2).sqrt() for a, s in (here, there)
        )  # the spread of u = x / alpha
        mistakes = (
            (after / before * x, "the centre moves too: take off alpha * mean at the start"),
            (after / before * centred, "put the centre back: add alpha * mean of the end"),
            (
                there[0] * mean + (after / before) ** 2 * centred,
                "the spread grows by the square root of the ratio of the variances",
            ),
            (
                there[0] * mean + before / after * centred,
                "the ratio is upside down: the spread at the end goes on top",
            ),
            (
                there[0] * mean + ratio_there / ratio_here * centred,
                "this is the factor for u = x / alpha; multiply by the ratio of the alphas",
            ),
            (mean + after / before * (x - mean), "the centre of a state is alpha * mean"),
        )
        for wrong, hint in mistakes:
            if torch.allclose(result, wrong, rtol=1e-9):
                return hint
        if not torch.allclose(result, goal, rtol=1e-9):
            return "not the flow; subtract the centre, rescale the spread, add the new centre"
    return ""
