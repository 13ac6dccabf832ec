"""The exercises of chapter 14: right answers pass, usual mistakes get a hint of their own."""

from __future__ import annotations

import pytest
import torch

from invlib.exercises.chapter14 import check_changed, check_source, check_weights


def changed(returned, given, limit=1e-6):
    pairs = zip(returned, given, strict=True)
    return [i for i, (r, g) in enumerate(pairs) if not (g - r).norm() <= limit * r.norm()]


def source(f, size):
    low, high = (f(torch.full((size,), v)) for v in (-1.0, 1.0))
    index, found = torch.arange(size), torch.zeros(len(low), dtype=torch.long)
    for r in range((size - 1).bit_length()):
        y = f(torch.where(index >> r & 1 == 1, 1.0, -1.0))
        found += ((y - high).abs() < (y - low).abs()).long() << r
    return found


def by_sign(f, size):
    """Takes for granted that the factors are positive."""
    middle = f(torch.zeros(size))
    index = torch.arange(size)
    bits = range((size - 1).bit_length())
    parts = [(f(torch.where(index >> r & 1 == 1, 1.0, -1.0)) > middle).long() << r for r in bits]
    return sum(parts)


def one_by_one(f, size):
    start = f(torch.zeros(size))
    return torch.stack([f(row) != start for row in torch.eye(size)]).long().argmax(0)


def weights(answers, outputs, limit=1e-5):
    columns = answers.double().movedim(1, -1).flatten(0, 1)
    w = torch.linalg.lstsq(columns, outputs.double().flatten()[:, None]).solution[:, 0]
    gap = (columns @ w - outputs.flatten()).norm()
    return w if gap <= limit * outputs.norm() else None


def first_run(answers, outputs):
    return weights(answers[:1], outputs[:1])


@pytest.mark.parametrize(
    ("check", "answer"),
    [(check_changed, changed), (check_source, source), (check_weights, weights)],
)
def test_a_right_answer_passes(check, answer, capsys) -> None:
    assert check(answer)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        (check_changed, lambda r, g: None, "return a list"),
        (check_changed, lambda r, g: [], "by 1 % after step 2"),
        (check_changed, lambda r, g: changed(r, g, 0.0), "is rounding"),
        (check_changed, lambda r, g: changed(r, g, 1e-3), "5e-6"),
        (check_changed, lambda r, g: changed(r[:-1], g[:-1]), "last state"),
        (
            check_changed,
            lambda r, g: [i for i in range(6) if (g[i] - r[i]).norm() > 1e-6 * r[i].norm()],
            "not gap <= limit",
        ),
        (check_source, lambda f, size: None, "return a tensor"),
        (check_source, lambda f, size: torch.zeros(2), "shape (2,)"),
        (check_source, one_by_one, "9 calls of f for 8 elements"),
        (check_source, by_sign, "change places"),
        (check_source, lambda f, size: source(f, size).argsort(), "where each input goes"),
        (check_source, lambda f, size: torch.zeros(size).long(), "bit r of j"),
        (check_weights, lambda a, m: None, "rounds a little"),
        (check_weights, lambda a, m: 1.0, "a tensor or None"),
        (check_weights, lambda a, m: torch.ones(2), "not (3,)"),
        (check_weights, lambda a, m: torch.ones(3), "you find [1.0, 1.0, 1.0]"),
        (check_weights, lambda a, m: weights(a, m, 1.0), "square of an answer"),
        (check_weights, first_run, "must do for both"),
    ],
)
def test_a_wrong_answer_gets_its_own_hint(check, attempt, hint, capsys) -> None:
    assert not check(attempt)
    said = capsys.readouterr().out
    assert said.startswith("not yet: ")
    assert hint in said
