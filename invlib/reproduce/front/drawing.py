"""Draw the figures of the open front from ``results/front.json``."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ...plotting import COLORS, INK, PALE
from .cells import EXACT_DB, ORIGINAL_DB
from .methods import METHODS
from .precise import NAME

Rows = list[dict[str, Any]]


def draw_attempts(images: Rows, sampler: str = "2M-10") -> Figure:
    """Every method on every image: the error of the image, and whose noise it is."""
    images = [row for row in images if row["sampler"] == sampler]
    scales = sorted({row["guidance"] for row in images})
    names = [name for name in (*METHODS, NAME) if any(row["method"] == name for row in images)]
    figure, axes = plt.subplots(1, len(scales), figsize=(5.0, 4.2), sharey=True, squeeze=False)
    kinds = {
        "original noise": {"color": COLORS["ours"], "marker": "D"},
        "another noise": {"color": COLORS["naive"], "marker": "o"},
        "not exact": {"color": INK, "marker": "x"},
    }
    for axis, scale in zip(axes[0], scales, strict=True):
        axis.axvspan(-270, EXACT_DB, color=PALE, alpha=0.5, linewidth=0)
        for row in images:
            if row["guidance"] == scale:
                place = names.index(row["method"]) + 0.16 * (row["image"] - 1)
                at = min(max(row["round_trip_db"], -255), 18)
                axis.plot(at, place, linestyle="", markersize=5, **kinds[kind_of(row)])
        axis.set(title=f"CFG {scale:g}", xlim=(-270, 30), xticks=[-200, -100, 0])
        axis.tick_params(axis="x", labelsize=8)
    axes[0, 0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0, 0].invert_yaxis()
    figure.supxlabel("error of the image in dB", fontsize=10)
    handles = [plt.Line2D([], [], linestyle="", label=k, **v) for k, v in kinds.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=9)
    return figure


def kind_of(row: dict[str, Any]) -> str:
    """Whether an inversion is exact, and whether its noise is the original one."""
    if row["round_trip_db"] >= EXACT_DB:
        return "not exact"
    return "original noise" if row["noise_db"] < ORIGINAL_DB else "another noise"


def draw_jacobians(rows: Rows) -> Figure:
    """Singular values at the true noise against guidance, and directions turned over."""
    figure, axes = plt.subplots(1, 2, figsize=(5.0, 2.9))
    signs = {1: (COLORS["ours"], "D", "positive"), -1: (COLORS["naive"], "o", "negative")}
    for row in rows:
        color, marker, _ = signs[row["sign"]]
        x = row["guidance"] * 1.06 ** row["image"]
        look = {"color": color, "marker": marker, "linestyle": ""}
        axes[0].plot(x, row["smallest"], **look)
        axes[1].plot(x, sum(row["turned"]), **look)
    for axis in axes:
        axis.set(xscale="log", xlabel="guidance scale")
        axis.set_xticks([1, 3, 7.5, 15], ["1", "3", "7.5", "15"])
        axis.minorticks_off()
    axes[0].set(yscale="log", title="smallest singular value")
    axes[1].set(title="directions turned over")
    handles = [
        plt.Line2D([], [], linestyle="", color=c, marker=m, label=f"{name} determinant")
        for c, m, name in signs.values()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=9)
    return figure


def draw_path(row: dict[str, Any]) -> Figure:
    """The strength of the network along a path, against what it cost."""
    figure, axis = plt.subplots(figsize=(5.0, 2.6))
    steps = int(row["sampler"].rpartition("-")[2])
    axis.plot([steps * v for v in row["rounds"]], row["strength"], color=COLORS["ours"])
    axis.axhline(1, color=INK, linestyle=":", linewidth=1)
    axis.set(xlabel="evaluations", ylabel="strength of the network", ylim=(0, 1.05))
    return figure
