"""A search over the combinations of several lists, one list after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Choice = TypeVar("Choice")
EVERY = 24  # so many combinations are all looked at
SWEEPS = 3


@dataclass(frozen=True)
class Phrases:
    """Prompts that differ in named attributes, to be searched attribute by attribute.

    Attributes:
        attributes: the values of each attribute, by its name; the search begins with the first
            values, and the attributes that one sees most of should come first.
        write: the prompt of one value of each attribute.
    """

    attributes: Mapping[str, Sequence[Any]]
    write: Callable[[Mapping[str, Any]], str]


def ascend(
    axes: Mapping[str, Sequence[Any]],
    make: Callable[[Mapping[str, Any]], Choice],
    score: Callable[[Choice], float | None],
) -> dict[Choice, float]:
    """Look for the choice of the highest score.

    All combinations are looked at if they are few, else all values of one axis at a time, the
    others at their best so far, until a sweep over the axes changes nothing. Where a score is None
    the search ends.

    Args:
        axes: the values of every axis; it begins with the first ones.
        make: the choice that one value of each axis makes.
        score: its score, or None to end.

    Returns:
        The scores of all that was looked at, in that order.

    Example:
        >>> axes = {"x": range(10), "y": range(10)}
        >>> found = ascend(axes, lambda at: (at["x"], at["y"]), lambda c: -(c[0] - 7) ** 2 - c[1])
        >>> max(found, key=found.get), len(found) < 50
        ((7, 0), True)
    """
    seen: dict[Choice, float] = {}

    def look(at: Mapping[str, Any]) -> float | None:
        choice = make(at)
        if choice not in seen:
            value = score(choice)
            if value is None:
                return None
            seen[choice] = value
        return seen[choice]

    if math.prod(len(values) for values in axes.values()) <= EVERY:
        for each in itertools.product(*axes.values()):
            if look(dict(zip(axes, each, strict=True))) is None:
                break
        return seen
    best = {name: values[0] for name, values in axes.items()}
    for _ in range(SWEEPS):
        before = dict(best)
        for name, values in axes.items():
            trials = [best | {name: value} for value in values]
            scores = [*itertools.takewhile(lambda score: score is not None, map(look, trials))]
            if len(scores) < len(trials):
                return seen
            best = trials[max(range(len(trials)), key=lambda k: _number(scores[k]))]
        if best == before:
            break
    return seen


def _number(score: float | None) -> float:
    return -math.inf if score is None or math.isnan(score) else score
