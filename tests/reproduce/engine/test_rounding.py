"""Numbers for results files: few digits, and None where there is none."""

from __future__ import annotations

import math

import torch

from invlib.reproduce.engine.rounding import level, rounded, short


def test_digits_and_what_is_no_number() -> None:
    assert short(0.0012345) == 0.00123
    assert short(torch.tensor(98765.4), 5) == 98765
    assert rounded(-101.26) == -101.3
    assert level(torch.tensor(1e-4)) == -40.0
    assert level(torch.tensor(0.5), 2) == -3.01
    for value in (math.nan, math.inf, -math.inf):
        assert short(value) is None and rounded(value) is None
    for ratio in (0.0, math.inf, math.nan):
        assert level(torch.tensor(ratio)) is None
