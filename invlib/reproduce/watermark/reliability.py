"""Stated probability against frequency: are the posteriors of keys calibrated?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from ...plotting import COLORS, INK, MARKERS
from .marked_portraits import DECODERS
from .scores import wilson

KINDS = dict(zip(DECODERS, ("ours", "naive"), strict=True))


@dataclass(frozen=True)
class Bin:
    """The decisions whose stated probabilities are alike.

    Attributes:
        decoder: how the decoder was inverted.
        count: how many they are.
        stated: mean of their probabilities.
        right: share of them that is right.
        low: lower end of its 95 % binomial interval (Wilson's).
        high: upper end.
    """

    decoder: str
    count: int
    stated: float
    right: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether what was stated is within the interval."""
        return self.low <= self.stated <= self.high


def pooled(values: dict[str, Any]) -> list[Bin]:
    """The bins of all cells together, those with decisions in them.

    Args:
        values: of ``results/whose.json``.
    """
    found = []
    for decoder in DECODERS:
        rows = [r["bins"] for r in values["rows"] if r["decoder"] == decoder]
        for count, stated, right in torch.tensor(rows, dtype=torch.float64).sum(0).tolist():
            if count:
                interval = wilson(torch.arange(int(count)) < right)
                means = (stated / count, right / count)
                found.append(Bin(decoder, int(count), *means, *interval))
    return found


def caption(bins: Sequence[Bin]) -> str:
    """What is to be seen, in words with the numbers of the bins."""
    gap = max(abs(one.stated - one.right) for one in bins)
    within = sum(one.holds for one in bins)
    return (
        f"Stated probability against frequency, {sum(one.count for one in bins)} decisions in "
        f"{len(bins)} bins, with 95 % binomial intervals. On the line what is stated is what "
        f"happens. The largest gap is {100 * gap:.1f} points; {within} of {len(bins)} intervals "
        "reach the line. Decisions about one picture, of which there are several, are not "
        "independent, so that the intervals are rather short."
    )


def draw(bins: Sequence[Bin]) -> Figure:
    """Shares that are right, with their intervals, over stated probabilities."""
    figure, axis = plt.subplots(figsize=(5.0, 4.2))
    axis.plot([0.25, 1], [0.25, 1], color=INK, linewidth=1, linestyle=":", zorder=0)
    for decoder, kind in KINDS.items():
        own = [one for one in bins if one.decoder == decoder]
        at, right = [one.stated for one in own], [one.right for one in own]
        ends = [[one.right - one.low for one in own], [one.high - one.right for one in own]]
        bars = axis.errorbar(at, right, ends, color=COLORS[kind], fmt=MARKERS[kind], capsize=3)
        bars.set_label(decoder)
    axis.set_xlim(0.25, 1.03)
    axis.set_ylim(0.2, 1.03)
    axis.set_xlabel("stated probability")
    axis.set_ylabel("share that is right")
    axis.legend(loc="upper left")
    return figure
