"""Checks of the exercises of chapter 12: a mask, a p-value, the bits of a payload."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..watermark import TreeRing, bit_error
from ..watermark.chi_square import log_cdf
from ..watermark.tree_ring import negate
from . import told

Disc = Callable[[tuple[int, int], float], Tensor]
PValue = Callable[[Tensor, Tensor, float], Tensor]
Wrong = Callable[[float, int], float]


def check_disc(disc: Disc) -> bool:
    r"""Check the exercise "a mask that real noise can hold": :math:`|k| \le r`, centred.

    Args:
        disc: the reader's function ``((height, width), radius) -> mask``, bool ``[H, W]``.

    Returns:
        Whether it passed.
    """
    return told("disc", "every frequency stands there with its mirror image", _disc(disc))


def _disc(disc: Disc) -> str:
    for size, radius in (((16, 16), 6.0), ((9, 12), 3.0), ((15, 20), 5.5)):
        wanted = TreeRing.rings([1.0], size, radius=radius).mask
        found = disc(size, radius)
        case = f"disc({size}, {radius:g})"
        if not isinstance(found, Tensor) or found.dtype != torch.bool:
            return f"{case} must be a tensor of type bool; compare the distance with the radius"
        if found.shape != wanted.shape:
            return f"{case} has shape {tuple(found.shape)} instead of {tuple(wanted.shape)}"
        if torch.equal(torch.fft.fftshift(found), wanted):
            return f"{case} has the zero frequency at [0, 0]; centred it is at [H // 2, W // 2]"
        alone = int((found & ~negate(found)).sum())
        if alone:
            return (
                f"{case}: {alone} of its {int(found.sum())} frequencies have no mirror image; "
                "measure distances from [H // 2, W // 2]"
            )
        if found.sum() < wanted.sum():
            return f"{case} is too small; a frequency at exactly the radius belongs to the disc"
        if not torch.equal(found, wanted):
            return f"{case} is symmetric, but it is not the disc of this radius"
    return ""


def check_p_value(p_value: PValue) -> bool:
    r"""Check the exercise "a p-value": the chi-square law with :math:`|M|` degrees of freedom.

    Args:
        p_value: the reader's function ``(y, pattern, variance) -> p``, of the values ``y [B, M]``
            of the spectrum and those of the key ``[M]``, both complex.

    Returns:
        Whether it passed.
    """
    return told("p_value", "uniform without the key, and tiny with it", _p_value(p_value))


def _p_value(p_value: PValue) -> str:
    key, variance = TreeRing.random((12, 12), seed=5, radius=3), 1.7
    draw = torch.Generator().manual_seed(0)
    noise = math.sqrt(variance) * torch.randn(60, 1, 12, 12, dtype=torch.float64, generator=draw)
    y, pattern = key.read(noise)[:, key.mask], key.pattern[key.mask]
    given = p_value(y.clone(), pattern.clone(), variance)
    if not isinstance(given, Tensor) or given.shape != (len(y),):
        return f"p_value must return one number for each of the {len(y)} rows of y"
    if given.is_complex():
        return "p_value returns complex numbers; the score is a sum of squared moduli"
    score = (y - pattern).abs().square().sum(1)
    size, m = pattern.abs().square().sum(), len(pattern)

    def law(x: Tensor, degrees: int, noncentrality: Tensor) -> Tensor:
        return log_cdf(x, degrees, noncentrality.expand_as(x))

    log_p = law(score / variance, m, size / variance)
    none = torch.zeros((), dtype=torch.float64)
    hints = (
        (log_p, "that is the logarithm of p; take its exponential"),
        (1 - log_p.exp(), "1 - p: near the key p must be small, so use F"),
        (
            law(2 * score / variance, 2 * m, 2 * size / variance).exp(),
            "you count 2 |M| degrees of freedom; k and -k are one complex number",
        ),
        (
            law(score / variance, 2 * m, size / variance).exp(),
            "the score is right, but it has |M| degrees of freedom, not 2 |M|",
        ),
        (law(score, m, size).exp(), "divide by the variance, score and noncentrality"),
        (law(score / variance, m, size).exp(), "the noncentrality is divided by the variance, too"),
        (law(score / variance, m, none).exp(), "without the key, Y - P has the mean -P, not 0"),
    )
    if torch.allclose(given, log_p.exp(), rtol=1e-6, atol=1e-12):
        return ""
    for wrong, hint in hints:
        if torch.allclose(given, wrong, rtol=1e-6, atol=1e-9):
            return hint
    return "the p-values differ from those of the theorem; compare score, degrees, noncentrality"


def check_wrong(wrong: Wrong) -> bool:
    r"""Check the exercise "the bits of a payload": the majority vote of r signs.

    Args:
        wrong: the reader's function ``(nmse, votes) -> probability`` that a bit is read wrongly.

    Returns:
        Whether it passed.
    """
    return told("wrong", "the angle, and the vote with its ties", _wrong(wrong))


def _wrong(wrong: Wrong) -> str:
    def vote(flip: float, votes: int, tie: float) -> float:
        return sum(
            (1.0 if 2 * j > votes else tie if 2 * j == votes else 0.0)
            * math.comb(votes, j)
            * flip**j
            * (1 - flip) ** (votes - j)
            for j in range(votes + 1)
        )

    for nmse, votes in ((0.08, 1), (0.3, 3), (0.5, 4), (2.0, 7), (1.2, 40)):
        right = bit_error(torch.tensor(nmse), votes).item()
        given = float(wrong(nmse, votes))
        flip = math.atan(math.sqrt(nmse)) / math.pi
        hints = (
            (vote(math.sqrt(nmse) / math.pi, votes, 0.5), "sqrt(nmse) is the tangent of the angle"),
            (vote(math.atan(nmse) / math.pi, votes, 0.5), "the tangent is sqrt(nmse), not nmse"),
            (vote(math.atan(math.sqrt(nmse)), votes, 0.5), "divide the angle by pi"),
            (flip, "a single vote is right; now let all of them vote"),
            (flip**votes, "that is all votes wrong; a majority is enough to lose the bit"),
            (vote(flip, votes, 0.0), "a tied vote is wrong in half of the cases, not never"),
            (vote(flip, votes, 1.0), "a tied vote is wrong in half of the cases, not always"),
            (1 - right, "that is the probability of a right bit"),
        )
        if abs(given - right) <= 1e-9 + 1e-6 * right:
            continue
        case = f"wrong({nmse}, {votes}) is {given:.4g} instead of {right:.4g}"
        for value, hint in hints:
            if abs(given - value) <= 1e-9 + 1e-6 * abs(value):
                return f"{case}; {hint}"
        return f"{case}; q = arctan(sqrt(nmse)) / pi, then sum over all losing votes"
    return ""
