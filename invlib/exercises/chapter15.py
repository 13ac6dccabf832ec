"""Checks of the exercises of chapter 15, on who made a picture."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import told, unlike

Density = Callable[[Tensor, Tensor], Tensor]
Posterior = Callable[[Tensor, Tensor], Tensor]
Threshold = Callable[[int, float], float]
Slope = Callable[[Tensor, Tensor, Tensor], Tensor]
HALF = 0.5 * math.log(2 * math.pi)


def check_log_density(log_density: Density) -> bool:
    r"""Check the exercise "all the noises count".

    .. math:: \log p(x) = \log \sum_k \frac{\varphi(z_k)}{|S'(z_k)|}

    Args:
        log_density: the reader's function ``(noises [R], slopes [R]) -> number``.

    Returns:
        Whether it passed.
    """
    problem = _problem_of_log_density(log_density)
    return told("log_density", "every noise, over the size of its slope", problem)


def check_posterior(posterior: Posterior) -> bool:
    r"""Check the exercise "who was it": :math:`p(c \mid x) \propto p(c)\,p(x \mid c)`.

    Args:
        posterior: the reader's function ``(log_p [K], prior [K]) -> [K]``.

    Returns:
        Whether it passed.
    """
    problem = _problem_of_posterior(posterior)
    return told("posterior", "priors count, and nothing overflows", problem)


def check_threshold(threshold: Threshold) -> bool:
    r"""Check the exercise "how many seeds": the t with :math:`M\,Q(t) = \alpha`.

    Args:
        threshold: the reader's function ``(seeds, alpha) -> score``.

    Returns:
        Whether it passed.
    """
    problem = _problem_of_threshold(threshold)
    return told("threshold", "so few wrong seeds come there", problem)


def check_slope(slope: Slope) -> bool:
    r"""Check the exercise "downhill in the norm".

    .. math:: \frac{\mathrm d}{\mathrm d\theta}\,\tfrac12\|z(\theta)\|^2
              = -z^T S_z^{-1} S_\theta

    Args:
        slope: the reader's function ``(noise [D], jacobian [D, D], change [D]) -> number``.

    Returns:
        Whether it passed.
    """
    return told("slope", "one linear system, and no search", _problem_of_slope(slope))


def _problem_of_log_density(log_density: Density) -> str:
    z = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    s = torch.tensor([0.8, -0.2, 1.5], dtype=torch.float64)
    weights = -z.square() / 2 - HALF - s.abs().log()
    right = weights.logsumexp(0)
    usual = {
        "the density is a sum; a sum of logarithms is the logarithm of a product": weights.sum(),
        "divide by the slope: where the sampler is flat, many noises end": (
            (-z.square() / 2 - HALF + s.abs().log()).logsumexp(0)
        ),
        "the slopes are missing": (-z.square() / 2 - HALF).logsumexp(0),
        "one of the noises only; they all make this image": weights.max(),
        "the normal density has a factor of its own": right + HALF,
        "that is the density; return its logarithm": right.exp(),
    }
    answer = log_density(z, s)
    if problem := unlike("log_density", answer, right, "return a tensor with one number"):
        return problem
    if answer.isnan():
        return "the second slope is negative: its size counts, not its sign"
    for hint, value in usual.items():
        if torch.isclose(answer, value, rtol=1e-9):
            return hint
    if not torch.isclose(answer, right, rtol=1e-9):
        return f"for three noises you say {answer:.4g}, right is {right:.4g}"
    far = log_density(z + 60, s)
    if not far.isfinite():
        return "noises near 60 have densities of 1e-800: stay with logarithms (torch.logsumexp)"
    return ""


def _problem_of_posterior(posterior: Posterior) -> str:
    log_p = torch.tensor([718.0, 715.0, 689.0, -40.0], dtype=torch.float64)
    prior = torch.tensor([0.01, 0.59, 0.4, 0.0], dtype=torch.float64)
    right = (log_p + prior.log()).softmax(0)
    answer = posterior(log_p, prior)
    if problem := unlike("posterior", answer, right, "return a tensor, one number a candidate"):
        return problem
    if not answer.isfinite().all():
        return "exp(718) is more than float64 holds; subtract the largest first, or use softmax"
    if torch.allclose(answer, log_p.softmax(0), rtol=1e-9):
        return "the priors are missing: somebody who hardly ever draws such pictures did not do it"
    if torch.allclose(answer, (log_p + prior).softmax(0), rtol=1e-9):
        return "priors multiply densities, so their logarithms are added to log_p"
    if abs(answer.sum().item() - 1) > 1e-9:
        return f"one of them it was, but your probabilities add up to {answer.sum():.3g}"
    if not torch.allclose(answer, right, rtol=1e-9):
        return f"for the second candidate you say {answer[1]:.4g}, right is {right[1]:.4g}"
    return ""


def _problem_of_threshold(threshold: Threshold) -> str:
    for seeds, alpha in ((1_000_000, 1e-6), (2**32, 0.01), (1, 0.05)):
        case = f"threshold({seeds}, {alpha})"
        answer = threshold(seeds, alpha)
        if not isinstance(answer, int | float):
            return f"{case} is a {type(answer).__name__}; return a number"
        right = -torch.special.ndtri(torch.tensor(alpha / seeds, dtype=torch.float64)).item()
        alone = -torch.special.ndtri(torch.tensor(alpha, dtype=torch.float64)).item()
        twice = -torch.special.ndtri(torch.tensor(alpha / seeds / 2, dtype=torch.float64)).item()
        if math.isclose(answer, alone, rel_tol=1e-6) and seeds > 1:
            return f"{case} is right for one seed; {seeds} of them may have luck"
        if math.isclose(answer, twice, rel_tol=1e-6):
            return f"{case}: only high scores speak for a seed, so one tail counts, not two"
        if math.isclose(answer, -right, rel_tol=1e-6):
            return f"{case} is negative: take the upper tail"
        if not math.isclose(answer, right, rel_tol=1e-6):
            return f"{case} is {answer:.4g}; there M Q(t) is not alpha ({right:.4g} is right)"
    return ""


def _problem_of_slope(slope: Slope) -> str:
    draw = torch.Generator().manual_seed(0)
    jacobian = torch.eye(5, dtype=torch.float64) + 0.3 * torch.randn(
        5, 5, dtype=torch.float64, generator=draw
    )
    z, change = torch.randn(2, 5, dtype=torch.float64, generator=draw)
    right = -z @ torch.linalg.solve(jacobian, change)
    usual = {
        "the sign: the noise has to undo what the change of the parameter does": -right,
        "solve with the Jacobian, do not multiply by it": -z @ jacobian @ change,
        "the Jacobian is turned round: S_z^T lambda = z, then -lambda^T S_theta": (
            -z @ torch.linalg.solve(jacobian.T, change)
        ),
        "the derivative of half the squared norm has no factor 2": 2 * right,
    }
    answer = slope(z, jacobian, change)
    if problem := unlike("slope", answer, right, "return a tensor with one number"):
        return problem
    for hint, value in usual.items():
        if torch.isclose(answer, value, rtol=1e-9):
            return hint
    if not torch.isclose(answer, right, rtol=1e-9):
        return f"you say {answer:.4g}, right is {right:.4g}"
    return ""
