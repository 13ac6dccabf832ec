"""Draw the bench: evaluations against error, one panel a guidance scale."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import textalloc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plotting import COLORS, INK, PALE
from ..tables.exactness import EXACT_DB
from .cells import CASES, Case
from .methods import OURS
from .tables import Row, front, rows_of, title

TOP, BOTTOM = 10.0, -150.0
LEFT, RIGHT = 4, 60_000
SIZE = 30.0  # of a marker, in square points
FAMILIES: dict[str, dict[str, Any]] = {
    "explicit": {"color": COLORS["naive"], "marker": "X"},
    "fixed point": {"color": "#7A5C00", "marker": "v"},
    "gradient": {"color": COLORS["algorithm2"], "marker": "^"},
    "editing": {"color": INK, "marker": "o", "markerfacecolor": "white"},
    "Algorithms 1, 2": {"color": COLORS["algorithm1"], "marker": "s"},
    OURS: {"color": COLORS["ours"], "marker": "D"},
}


def draw(values: dict[str, Any], model: str, sampler: str, error: str = "image_db") -> Figure:
    """One sampler's panels, one below the other so that a phone shows them at full size.

    Args:
        values: what ``results/bench.json`` holds.
        model: ``latent``, ``pixel`` or ``stars``.
        sampler: name of the sampler.
        error: ``image_db`` or ``noise_db``.
    """
    cases = [case for case in CASES if (case.model, case.sampler) == (model, sampler)]
    size = (5.0, 2.6 * len(cases) + 0.9)
    figure, axes = plt.subplots(
        len(cases), 1, figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    for axis, case in zip(axes[:, 0], cases, strict=True):
        _panel(axis, case, rows_of(values, case), error)
    axes[-1, 0].set_xlabel("network evaluations an image")
    marks = [plt.Line2D([], [], ls="", label=n, **look) for n, look in FAMILIES.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, handletextpad=0.2)
    figure.canvas.draw()  # places the panels, so that labels can find room in them
    figure.set_layout_engine("none")
    for axis, case in zip(axes[:, 0], cases, strict=True):
        _labels(axis, rows_of(values, case), error)
    return figure


def _panel(axis: Axes, case: Case, rows: Sequence[Row], error: str) -> None:
    axis.set(xscale="log", xlim=(LEFT, RIGHT), ylim=(BOTTOM, TOP + 8), title=title(case))
    axis.set_ylabel(f"{error.split('_')[0]} NMSE (dB)")
    axis.axhspan(BOTTOM, EXACT_DB, color=PALE, alpha=0.45, lw=0)
    axis.text(0.99, 0.03, "round-off", transform=axis.transAxes, ha="right", fontsize=9)
    points = [row for row in rows if row["nfe"] is not None]
    if not points:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center")
        return
    if best := front(points, error):
        costs, levels = zip(*((row["nfe"], _height(row, error)) for row in best), strict=True)
        line: dict[str, Any] = {"where": "post", "color": INK, "lw": 0.8, "zorder": 1}
        axis.step([*costs, RIGHT], [*levels, levels[-1]], **line)
    for row in points:
        axis.plot(row["nfe"], _height(row, error), ls="", clip_on=False, **FAMILIES[row["family"]])


def _labels(axis: Axes, rows: Sequence[Row], error: str) -> None:
    """Name ours and the methods on the front, each where it hides nothing, else not at all."""
    points = [row for row in rows if row["nfe"] is not None]
    best = front(points, error)
    named = [row for row in points if row["method"] == OURS]
    named += [row for row in best if row not in named]
    if not named:
        return
    steps = [(row["nfe"], _height(row, error)) for row in best]
    corners = [(x, y) for (_, y), (x, _) in pairwise([*steps, (RIGHT, 0.0)])]
    line = [place for both in zip(steps, corners, strict=True) for place in both]
    ours = [row["method"] == OURS for row in named]
    textalloc.allocate(
        axis,
        [row["nfe"] for row in named],
        [_height(row, error) for row in named],
        [row["label"].replace(" †", "") for row in named],
        x_scatter=[row["nfe"] for row in points],
        y_scatter=[_height(row, error) for row in points],
        scatter_sizes=[SIZE] * len(points),
        x_lines=[[x for x, _ in line]],
        y_lines=[[y for _, y in line]],
        textsize=9,
        textcolor=[COLORS["ours"] if k else INK for k in ours],
        fontweight=["bold" if k else "normal" for k in ours],
        linecolor=INK,
        linewidth=0.5,
        draw_all=False,
        margin=0.001,
        min_distance=0.012,
        max_distance=0.4,
        nbr_candidates=1000,
        avoid_label_lines_overlap=True,
    )


def _height(row: Row, error: str) -> float:
    """Where a point is drawn; what is above the panel, or not finite, at its upper edge."""
    level = row[error]
    return TOP if level is None else min(max(level, BOTTOM), TOP)
