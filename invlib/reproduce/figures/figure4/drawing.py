"""Draw Figure 4 from its results."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ...watermark.table import LABELS, ROUTES
from .cells import Row

BRIGHTEST = 1.2  # of a row in which the key's own map goes up to 1


def draw(results: list[Row]) -> Figure:
    """Rows: keys. Columns: the key, the picture, and for each route the spectrum and its error."""
    figure, axes = plt.subplots(
        len(results),
        2 + 2 * len(ROUTES),
        figsize=(12.4, 1.38 * len(results) + 0.55),
        dpi=90,
        squeeze=False,
        layout="none",
    )
    figure.subplots_adjust(
        left=0.004, right=0.996, top=0.885, bottom=0.05, wspace=0.07, hspace=0.22
    )
    for row, line in zip(results, axes, strict=True):
        largest = row.embedded.max().item()
        _map(line[0], row.embedded / largest)
        line[1].imshow(row.picture.permute(1, 2, 0).numpy())
        for j, route in enumerate(ROUTES):
            _map(line[2 + 2 * j], row.recovered[route] / largest)
            _map(line[3 + 2 * j], row.error[route] / largest)
            line[3 + 2 * j].set_xlabel(f"{row.nmae[route]:.2f}", fontsize=11, labelpad=2)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    _headings(figure, axes[0])
    return figure


def _map(axis: Axes, values: Tensor) -> None:
    axis.imshow(values.numpy(), cmap="viridis", vmin=0, vmax=BRIGHTEST, interpolation="nearest")


def _headings(figure: Figure, top: list[Axes]) -> None:
    for axis, text in zip(top, ("key", "picture", *("recon.", "error") * len(ROUTES)), strict=True):
        axis.set_title(text, fontsize=10.5, loc="center", pad=4)
    for j, route in enumerate(ROUTES):
        left, right = top[2 + 2 * j].get_position(), top[3 + 2 * j].get_position()
        middle = (left.x0 + right.x1) / 2
        weight = "bold" if route == "ours/ours" else "normal"
        figure.text(middle, 0.955, LABELS[route], ha="center", fontsize=12, weight=weight)
