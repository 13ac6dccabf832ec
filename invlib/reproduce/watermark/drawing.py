"""Draw the watermark table: what each step of the inversion adds, and what attacks leave."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plotting import COLORS, INK, MARKERS, PALE
from .table import ATTACKED, LABELS, ROUTES, STRENGTHS, TRUE

Rows = list[dict[str, Any]]
LADDER = (*(("known", r) for r in (*ROUTES, "ours/naive")), *(("latents", r) for r in TRUE))
KINDS = {"encoder/naive": "naive", "ours/naive": "algorithm1", "ours/ours": "ours"}
SCALES = (  # score, its name, lowest, highest, what guessing gives
    ("accuracy", "right key", 0.0, 1.0, 1 / 3),
    ("detected", "key detected", 0.0, 1.0, None),
    ("bits", "payload bits", 0.4, 1.0, 0.5),
)


def draw_ladder(rows: Rows) -> Figure:
    """NMAE and payload bits of the methods, from pictures and from the true latents."""
    known = {(row["part"], row["route"]): row for row in rows}
    figure, (left, right) = plt.subplots(1, 2, figsize=(5.0, 3.5), sharey=True)
    for place, at in enumerate(LADDER):
        row = known[at]
        color = COLORS["ours" if "ours/ours" in at[1] or "exact" in at[1] else "truth"]
        _dot(left, row, "nmae", place, color)
        _dot(right, row, "bits", place, color)
    right.axvline(0.5, color=PALE, zorder=0)
    right.set_xlim(0.45, 1.03)
    left.set_xlim(left=-0.02)
    left.set_xlabel("NMAE of the key")
    right.set_xlabel("payload bits right")
    names = [LABELS[route].replace(" decoder inversion", " decoder inv.") for _, route in LADDER]
    left.set_yticks(range(len(LADDER)), names, fontsize=9)
    left.invert_yaxis()
    for axis in (left, right):
        axis.axhline(len(LADDER) - len(TRUE) - 0.5, color=PALE)
        axis.tick_params(labelsize=9)
    return figure


def draw_attacks(rows: Rows) -> Figure:
    """What three methods read after every attack; bars are 95 % intervals."""
    names = ["none", *STRENGTHS]
    known = {("none" if r["part"] == "known" else r["part"], r["route"]): r for r in rows}
    figure, axes = plt.subplots(1, 3, figsize=(5.0, 4.6), sharey=True)
    for axis, (score, title, low, high, chance) in zip(axes, SCALES, strict=True):
        for j, route in enumerate(ATTACKED):
            kind = KINDS[route]
            for place, attack in enumerate(names):
                at = place + 0.24 * (j - 1)
                _dot(axis, known[attack, route], score, at, COLORS[kind], MARKERS[kind])
        if chance:
            axis.axvline(chance, color=PALE, zorder=0)
        axis.set_xlim(low - 0.05, high + 0.05)
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8.5)
    axes[0].set_yticks(range(len(names)), names, fontsize=9)
    axes[0].invert_yaxis()
    handles = [
        plt.Line2D([], [], color=COLORS[k], marker=MARKERS[k], linestyle="", label=LABELS[r])
        for r, k in KINDS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5)
    return figure


def _dot(
    axis: Axes, row: dict[str, Any], score: str, place: float, color: str, marker: str = "o"
) -> None:
    low, high = row[f"{score}_ci95"]
    axis.plot([low, high], [place, place], color=color, linewidth=1.2, alpha=0.7)
    axis.plot(row[score], place, marker, color=color, markersize=4.5, markeredgecolor=INK, mew=0.3)
