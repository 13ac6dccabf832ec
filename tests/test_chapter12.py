"""The exercises of chapter 12: right answers pass, usual mistakes get a hint of their own."""

from __future__ import annotations

import math

import pytest
import torch

from invlib.exercises.chapter12 import check_disc, check_p_value, check_wrong
from invlib.watermark.chi_square import log_cdf


def disc(shift=0.0, *, strict=False, move=lambda mask: mask):
    """A disc whose centre is off by ``shift``."""

    def answer(size, radius):
        rows, columns = (torch.arange(n, dtype=torch.float64) - n // 2 - shift for n in size)
        distance = torch.hypot(rows[:, None], columns[None])
        return move(distance < radius if strict else distance <= radius)

    return answer


def square(size, radius):
    rows, columns = (torch.arange(n) - n // 2 for n in size)
    return (rows[:, None].abs() <= radius) & (columns[None].abs() <= radius)


def p_value(twice=1, score=True, power=True, mean=True, after=torch.exp, degrees=None):
    """The p-value with one thing right or wrong."""

    def answer(y, pattern, variance):
        eta = twice * (y - pattern).abs().square().sum(1) / (variance if score else 1)
        nc = twice * pattern.abs().square().sum() / (variance if power else 1) * mean
        return after(log_cdf(eta, (degrees or twice) * len(pattern), nc.expand_as(eta)))

    return answer


def wrong(angle=lambda nmse: math.atan(math.sqrt(nmse)) / math.pi, tie=0.5, count=lambda r: r):
    """The vote of ``count(votes)`` signs that each flip with a probability."""

    def answer(nmse, votes):
        q, r = angle(nmse), count(votes)
        lost = sum(math.comb(r, j) * q**j * (1 - q) ** (r - j) for j in range(r // 2 + 1, r + 1))
        return lost + (tie * math.comb(r, r // 2) * (q * (1 - q)) ** (r // 2) if r % 2 == 0 else 0)

    return answer


@pytest.mark.parametrize(
    ("check", "answer"),
    [(check_disc, disc()), (check_p_value, p_value()), (check_wrong, wrong())],
)
def test_a_right_answer_passes(check, answer, capsys) -> None:
    assert check(answer)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        (check_disc, lambda *_: None, "type bool"),
        (check_disc, lambda size, _: torch.ones(size[::-1]).bool()[:-1], "has shape"),
        (check_disc, disc(move=torch.fft.ifftshift), "zero frequency at [0, 0]"),
        (check_disc, disc(-1.0), "no mirror image"),
        (check_disc, disc(-0.5), "no mirror image"),
        (check_disc, disc(strict=True), "exactly the radius"),
        (check_disc, square, "not the disc"),
        (check_p_value, lambda y, *_: y.abs().sum(), "each of the 60 rows"),
        (check_p_value, lambda y, p, v: (y - p).square().sum(1), "complex"),
        (check_p_value, p_value(after=lambda x: x), "logarithm"),
        (check_p_value, p_value(after=lambda x: 1 - x.exp()), "1 - p"),
        (check_p_value, p_value(twice=2), "one complex number"),
        (check_p_value, p_value(degrees=2), "the score is right"),
        (check_p_value, p_value(score=False, power=False), "score and noncentrality"),
        (check_p_value, p_value(power=False), "too"),
        (check_p_value, p_value(mean=False), "the mean -P"),
        (check_p_value, lambda y, *_: y.abs().mean(1), "differ from"),
        (check_wrong, wrong(lambda nmse: math.sqrt(nmse) / math.pi), "tangent of the angle"),
        (check_wrong, wrong(lambda nmse: math.atan(nmse) / math.pi), "not nmse"),
        (check_wrong, wrong(lambda nmse: math.atan(math.sqrt(nmse))), "divide the angle"),
        (check_wrong, wrong(count=lambda r: 1), "let all of them vote"),
        (
            check_wrong,
            lambda nmse, r: (math.atan(math.sqrt(nmse)) / math.pi) ** r,
            "majority is enough",
        ),
        (check_wrong, wrong(tie=0.0), "not never"),
        (check_wrong, wrong(tie=1.0), "not always"),
        (check_wrong, lambda *case: 1 - wrong()(*case), "right bit"),
        (check_wrong, lambda *_: 0.123, "sum over all"),
    ],
)
def test_a_wrong_answer_gets_a_hint(check, attempt, hint, capsys) -> None:
    assert not check(attempt)
    line = capsys.readouterr().out
    assert line.startswith("not yet: ")
    assert hint in line
