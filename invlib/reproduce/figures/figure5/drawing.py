"""Draw Figure 5 from its results."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ....plotting import INK
from ...watermark.scores import correct
from .cells import COLUMNS, MASKS, Results, table


def draw(results: Results) -> Figure:
    """Rows: masks. Columns: routes. Each a matrix of counts, coloured by their share of its row."""
    figure, axes = plt.subplots(
        len(results),
        len(COLUMNS),
        figsize=(12.4, 2.75 * len(results)),
        dpi=90,
        squeeze=False,
        layout="constrained",
    )
    for (keys, columns), line in zip(results.items(), axes, strict=True):
        for (route, scores), axis in zip(columns.items(), line, strict=True):
            _matrix(axis, table(scores))
            share = correct(scores.index).double().mean().item()
            axis.set_title(f"{COLUMNS[route]}: {share:.0%}", fontsize=12, loc="center")
        line[0].set_ylabel(f"{MASKS[keys]}\nembedded key", fontsize=12)
    for axis in axes[-1]:
        axis.set_xlabel("taken for key", fontsize=12)
    return figure


def _matrix(axis: Axes, counts: Tensor) -> None:
    share = counts / counts.sum(1, keepdim=True)
    axis.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(counts.tolist()):
        for j, count in enumerate(row):
            color = "white" if share[i, j] > 0.55 else INK
            axis.text(j, i, str(count), ha="center", va="center", color=color, fontsize=15)
    axis.set_xticks(range(len(counts)), [str(i + 1) for i in range(len(counts))])
    axis.set_yticks(range(len(counts)), [str(i + 1) for i in range(len(counts))])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
