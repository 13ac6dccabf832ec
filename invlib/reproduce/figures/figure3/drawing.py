"""Draw Figure 3 from its results."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from ....metrics import decibel
from ....plotting import look
from .cells import HIGH_ORDER, IMAGES, SPACES

METHODS = {
    "naive": look("naive"),
    "algorithm1": look("algorithm1"),
    "tight": look("algorithm1") | {"marker": "P", "label": "Algorithm 1, tight"},
    "algorithm2": look("algorithm2"),
    "exact": look("ours"),
}
STRIP = ("tight", "exact")  # methods whose errors are in the strip below
ROWS = (("DDIM", "DDIM, 50 steps"), (HIGH_ORDER, "2M, 10 steps"))
ROOM, STRIP_ROOM = 4.0, 18.0  # dB above and below the errors


def draw(points: list[dict[str, Any]], error: str) -> Figure:
    """One panel for each sampler (rows) and space (columns), with a broken axis of errors.

    Args:
        points: what :func:`invlib.reproduce.figures.figure3.cells.load` returns.
        error: ``noise_nmse`` or ``image_nmse``.
    """
    figure, axes = plt.subplots(
        4,
        2,
        figsize=(5.0, 6.3),
        sharex=True,
        sharey="row",
        gridspec_kw={"height_ratios": (3, 1.1, 3, 1.1), "hspace": 0.06},
    )
    for row, (sampler, title) in enumerate(ROWS):
        for column, space in enumerate(SPACES):
            here = [p for p in points if p["space"] == space and p["run"].sampler == sampler]
            pair = axes[2 * row, column], axes[2 * row + 1, column]
            for method in METHODS:
                curve = [p for p in here if p["run"].method == method]
                _curve(pair[method in STRIP], curve, method, error)
            _broken(*pair)
            pair[0].set_title(f"{space}: {title}", fontsize=10.5)
        _limits(axes[2 * row, 0], axes[2 * row + 1, 0], points, sampler, error)
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_xticks([10, 100, 1000], ["10", "100", "1000"])
    axes[0, 0].xaxis.set_minor_locator(NullLocator())
    figure.supxlabel("steps of the inversion", fontsize=11)
    figure.supylabel(f"error of the {error.split('_')[0]} (dB)", fontsize=11)
    handles = [Line2D([], [], **shape) for shape in METHODS.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, columnspacing=1.5)
    return figure


def _curve(axis: Axes, points: list[dict[str, Any]], method: str, error: str) -> None:
    """Median and range over the images, hollow where there are fewer of them."""
    shape = METHODS[method]
    full = [p for p in points if p["run"].count == IMAGES]
    _line(axis, full, IMAGES, error, color=shape["color"], linestyle=shape["linestyle"])
    for count in {p["run"].count for p in points} - {IMAGES}:
        part = comparable(points, count)
        _line(axis, part, count, error, color=shape["color"], linestyle=":", linewidth=1.4)
    for p in points:
        x, values = p["run"].inversion_steps, decibel(p[error])
        face = shape["color"] if p["run"].count == IMAGES else "white"
        axis.plot([x, x], values.aminmax(), color=shape["color"], linewidth=1.2, alpha=0.6)
        marker: dict[str, Any] = {"marker": shape["marker"], "markerfacecolor": face}
        axis.plot([x], values.quantile(0.5), color=shape["color"], zorder=4, **marker)


def _line(axis: Axes, points: list[dict[str, Any]], count: int, error: str, **shape: Any) -> None:
    """Join the medians over the first ``count`` images."""
    steps = [p["run"].inversion_steps for p in points]
    middle = [decibel(p[error][:count]).quantile(0.5) for p in points]
    axis.plot(steps, middle, zorder=3, **shape)


def comparable(points: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The points of ``count`` images, those of more images between them, and the next of these.

    Args:
        points: points of one curve, by number of steps.
        count: number of images.
    """
    there = [k for k, p in enumerate(points) if p["run"].count == count]
    span = range(max(there[0] - 1, 0), min(there[-1] + 2, len(points)))
    return [points[k] for k in span if points[k]["run"].count >= count]


def _limits(
    above: Axes, below: Axes, points: list[dict[str, Any]], sampler: str, error: str
) -> None:
    """The strip shows the methods of ``STRIP``, the part above it the others."""
    here = [p for p in points if p["run"].sampler == sampler]
    parts = [
        [decibel(p[error]) for p in here if (p["run"].method in STRIP) == strip]
        for strip in (False, True)
    ]
    for axis, values, room in zip((above, below), parts, (ROOM, STRIP_ROOM), strict=True):
        low = min(v.min().item() for v in values)
        high = max(v.max().item() for v in values)
        axis.set_ylim(low - room, high + room)


def _broken(above: Axes, below: Axes) -> None:
    """Mark the gap between the two parts of an axis."""
    above.spines["bottom"].set_visible(False)
    above.tick_params(axis="x", bottom=False, which="both", labelbottom=False)
    below.xaxis.set_minor_formatter(NullFormatter())
    shape: dict[str, Any] = {
        "marker": [(-1, -0.6), (1, 0.6)],
        "markersize": 7,
        "linestyle": "none",
        "color": "k",
    }
    above.plot([0], [0], transform=above.transAxes, clip_on=False, **shape)
    below.plot([0], [1], transform=below.transAxes, clip_on=False, **shape)
