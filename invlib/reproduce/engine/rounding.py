"""Numbers as results files hold them: few digits, and None where there is no finite number."""

from __future__ import annotations

import math

from torch import Tensor

from ...metrics import decibel


def short(value: float | Tensor, digits: int = 3) -> float | None:
    """A number with some significant digits; None if it is not finite."""
    number = float(value)
    return float(f"{number:.{digits}g}") if math.isfinite(number) else None


def rounded(number: float, digits: int = 1) -> float | None:
    """A number with some digits behind the point; None if it is not finite."""
    return round(number, digits) if math.isfinite(number) else None


def level(ratio: Tensor, digits: int = 1) -> float | None:
    """A ratio in dB with some digits behind the point; None if it is 0 or not finite."""
    return rounded(decibel(ratio).item(), digits) if ratio else None
