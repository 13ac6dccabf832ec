"""Draw Figure 2 from its results."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ....metrics import decibel

COLUMNS = ("image", "noise")


def draw(results: list[dict[str, Any]]) -> Figure:
    """Rows: methods. Columns, for each space: image and noise, reconstruction and error x2."""
    names = [*dict.fromkeys(r["space"].name for r in results)]
    rows = [*dict.fromkeys(r["row"] for r in results)]
    by_key = {(r["space"].name, r["row"]): r for r in results}
    figure, axes = plt.subplots(
        len(rows),
        4 * len(names),
        figsize=(12.4, 1.66 * len(rows) + 0.7),
        gridspec_kw={"wspace": 0.06, "hspace": 0.24},
        squeeze=False,
        dpi=90,
    )
    figure.subplots_adjust(left=0.13, right=0.995, top=0.935, bottom=0.03)
    for i, row in enumerate(rows):
        for s, name in enumerate(names):
            result = by_key[name, row]
            for c, kind in enumerate(COLUMNS):
                first = 4 * s + 2 * c
                again, truth = result[f"{kind}_again"], result[kind]
                level = decibel(result[f"{kind}_nmse"][0]).item()
                _show(axes[i, first], again)
                _show(axes[i, first + 1], error_map(truth, again), f"{level:.0f} dB")
        ours = row.method == "exact"
        axes[i, 0].set_ylabel(
            row.label,
            rotation=0,
            ha="right",
            va="center",
            labelpad=8,
            fontsize=10,
            weight="bold" if ours else "normal",
        )
    _headings(figure, axes, results, names, rows)
    return figure


def error_map(truth: Tensor, again: Tensor, scale: float = 2.0) -> Tensor:
    """Grey plus ``scale`` times the error, clipped, as in the authors' code."""
    return (scale * (truth - again) + 127 / 255).clamp(0, 1)


def _show(axis: Axes, picture: Tensor, caption: str = "") -> None:
    axis.imshow(picture.permute(1, 2, 0).numpy().astype(np.float32), interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if caption:
        axis.set_xlabel(caption, fontsize=9.5, labelpad=2)


def _headings(
    figure: Figure, axes: np.ndarray, results: list[dict[str, Any]], names: list[str], rows: list
) -> None:
    labels = {r["space"].name: r["space"].label for r in results}
    for s, name in enumerate(names):
        left, right = axes[0, 4 * s].get_position(), axes[0, 4 * s + 3].get_position()
        middle = (left.x0 + right.x1) / 2
        figure.text(middle, 0.978, labels[name], ha="center", fontsize=12, weight="bold")
        for c, kind in enumerate(COLUMNS):
            for d, text in enumerate((f"{kind}: recon.", "error \u00d72")):
                axes[0, 4 * s + 2 * c + d].set_title(text, fontsize=10, pad=5)
    for i, row in enumerate(rows):
        if i == 0 or rows[i - 1].sampler != row.sampler:
            count = sum(r.sampler == row.sampler for r in rows)
            top, bottom = axes[i, 0].get_position(), axes[i + count - 1, 0].get_position()
            figure.text(
                0.008,
                (top.y1 + bottom.y0) / 2,
                f"{row.sampler}, {row.steps} steps",
                rotation=90,
                va="center",
                fontsize=11,
                weight="bold",
            )
