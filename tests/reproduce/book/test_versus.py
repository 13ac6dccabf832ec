"""The page that puts the paper's numbers beside ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invlib.reproduce.book.versus import Number, verdict

LEVELS = st.lists(st.floats(0, 10), min_size=2, max_size=6, unique=True)


@given(LEVELS, st.floats(0.1, 5))
def test_what_grows_alike_stands_in_the_same_order(levels: list[float], factor: float) -> None:
    numbers = [Number("", level, factor * level + 1) for level in levels]
    told = verdict(numbers)
    ties = len({n.ours for n in numbers}) < len(numbers)  # round-off can make two equal
    assert told == "same order" or ties


@given(LEVELS)
def test_the_reverse_stands_in_no_pair(levels: list[float]) -> None:
    numbers = [Number("", level, -level) for level in levels]
    pairs = len(levels) * (len(levels) - 1) // 2
    assert verdict(numbers) == f"same order in 0 of {pairs} pairs"


def test_equal_values_of_the_paper_decide_nothing() -> None:
    assert verdict([Number("", 1.0, 2.0), Number("", 1.0, 3.0)]) == "not measured"
    assert verdict([Number("", 1.0, None), Number("", 2.0, 3.0)]) == "not measured"


@pytest.mark.parametrize(("ours", "pairs"), [((1, 2, 3), 3), ((1, 3, 2), 2), ((2, 1, 3), 2)])
def test_single_pairs_are_counted(ours: tuple[int, ...], pairs: int) -> None:
    told = verdict([Number("", float(i), float(v)) for i, v in enumerate(ours)])
    assert told == ("same order" if pairs == 3 else f"same order in {pairs} of 3 pairs")
