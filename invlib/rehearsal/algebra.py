"""Operations of a search beside its network: the linear algebra of a round, counted."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..inverters.secants import Pairs
from .formulas import pairs_at_most
from .live import flops


def algebra(steps: int, numbers: int) -> int:
    r"""Operations of one round of the secant method on one sample, with the most pairs.

    Products with all pairs are counted as they run, on tensors without values; to them comes the
    system of :math:`n = N K` unknowns, :math:`\tfrac23 n^3`.

    Args:
        steps: N.
        numbers: D, numbers in a state.
    """
    count = pairs_at_most(steps, numbers).count
    y = torch.empty(1, steps, numbers, dtype=torch.float64, device="meta")
    one, two = y.new_empty(steps), y.new_empty(steps, steps)
    before = count - 1  # pairs; the round adds one
    pairs = replace(
        Pairs.empty(one, two, count, 0.0, y, torch.float64),
        dy=y.new_empty(1, steps, before, numbers),
        dm=y.new_empty(1, steps, before, numbers),
        gram=y.new_empty(1, steps, before, before),
        cross=y.new_empty(1, steps, before, steps, before),
        last=(y, y),
    )

    def round_() -> None:
        pairs.add(y, y)
        pairs.step(y)

    return flops(round_) + 2 * (steps * count) ** 3 // 3
