"""The exercises of chapter 13: right answers pass, usual mistakes get a hint of their own."""

from __future__ import annotations

import math

import pytest

from invlib.exercises.chapter13 import check_background, check_blended, check_compensated


def blend(mix, chosen=lambda nodes: nodes, first=0):
    """The exercise's loop with some of its parts replaced."""

    def blended(step, states, mask, nodes):
        y = states[first]
        for i in range(len(states) - 1):
            y = step(i, y)
            if i + 1 in chosen(nodes):
                y = mix(mask, y, states, i)
        return y

    return blended


def right_mix(mask, y, states, i):
    return mask * y + (1 - mask) * states[i + 1]


def upside_down(mask, y, states, i):
    return (1 - mask) * y + mask * states[i + 1]


def late(mask, y, states, i):
    return mask * y + (1 - mask) * states[i]


def too_few(step, states, mask, nodes):
    return step(0, states[0])


def energy(v):
    return v.square().flatten(1).sum(1)


def background(x, original, mask):
    return energy((1 - mask) * (x - original)) / energy((1 - mask) * original)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (check_blended, blend(right_mix)),
        (check_background, background),
        (check_compensated, lambda weight, blends: weight ** (1 / blends)),
    ],
)
def test_a_right_answer_passes(check, answer, capsys) -> None:
    assert check(answer)
    assert capsys.readouterr().out.startswith("ok  ")


@pytest.mark.parametrize(
    ("check", "attempt", "hint"),
    [
        (check_blended, lambda *_: None, "end it with"),
        (check_blended, lambda step, states, *_: states.sum(), "not that of a state"),
        (check_blended, too_few, "once each"),
        (check_blended, blend(right_mix, lambda _: ()), "never blend"),
        (check_blended, blend(right_mix, lambda _: range(5)), "at every node"),
        (check_blended, blend(right_mix, lambda nodes: nodes - {4}), "last node"),
        (check_blended, blend(right_mix, lambda nodes: {n + 1 for n in nodes}), "not i"),
        (check_blended, blend(upside_down), "upside down"),
        (check_blended, blend(late), "states[i + 1]"),
        (check_blended, blend(right_mix, first=1), "begin with"),
        (check_background, lambda *_: 0.0, "return a tensor"),
        (check_background, lambda x, y, m: ((1 - m) * (x - y)).sum(), "first dimension"),
        (check_background, lambda x, y, m: (1 - m) * (x - y), "not (3,)"),
        (check_background, lambda x, y, m: background(x, y, 1 - m), "upside down"),
        (check_background, lambda x, y, m: energy((1 - m) * (x - y)) / energy(y), "not by all"),
        (check_background, lambda x, y, m: energy(x - y) / energy((1 - m) * y), "difference, too"),
        (check_background, lambda x, y, m: background(x, y, m).sqrt(), "square the norms"),
        (check_background, lambda x, y, m: background(y, x, m), "not by the edit's"),
        (check_background, lambda x, y, m: 2 * background(x, y, m), "differ from the formula"),
        (check_compensated, lambda w, n: math.exp(math.log(w) / n), "needs care"),
        (check_compensated, lambda weight, blends: None, "return a number"),
        (check_compensated, lambda weight, blends: weight**blends, "invert that"),
        (check_compensated, lambda weight, blends: weight / blends, "multiply"),
        (check_compensated, lambda weight, blends: weight, "leave"),
    ],
)
def test_a_wrong_answer_gets_its_own_hint(check, attempt, hint, capsys) -> None:
    assert not check(attempt)
    said = capsys.readouterr().out
    assert said.startswith("not yet: ")
    assert hint in said
