"""Draw the bench: evaluations against error, one panel a guidance scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from ...plotting import COLORS, INK, PALE
from ..tables.exactness import EXACT_DB
from .cells import CASES, Case
from .methods import OURS
from .tables import Row, front, rows_of, title

TOP, BOTTOM = 10.0, -150.0
LEFT, RIGHT = 4, 60_000
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
    """Name ours and the methods on the front, each where it hides nothing."""
    points = [row for row in rows if row["nfe"] is not None]
    named = front(points, error) + [row for row in points if row["method"] == OURS]
    named = [row for k, row in enumerate(named) if row not in named[:k]]
    taken = [_around(axis, row, error) for row in points] + _line(axis, points, error)
    named.sort(key=lambda row: row["method"] != OURS)
    figure: Any = axis.figure
    for row in named:
        for text in _attempts(axis, row, error):
            text.update_positions(figure.canvas.get_renderer())
            box = Text.get_window_extent(text)  # without the line to the point
            room = axis.get_window_extent()
            inside = room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0
            if inside and box.y1 <= room.y1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _attempts(axis: Axes, row: Row, error: str) -> Iterator[Annotation]:
    """The label of a point in one place after the other, near ones first."""
    places = [(x, y) for d in (0, 9, 18, 30, 42) for y, x in product((d, -d), (7, -7, 0))]
    for x, y in dict.fromkeys(places):
        yield axis.annotate(
            row["label"].replace(" †", ""),
            (row["nfe"], _height(row, error)),
            (x, y),
            textcoords="offset points",
            ha={7: "left", -7: "right", 0: "center"}[x],
            va="center",
            fontsize=9,
            color=COLORS["ours"] if row["method"] == OURS else INK,
            weight="bold" if row["method"] == OURS else "normal",
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": INK} if abs(y) > 9 else None,
        )


def _around(axis: Axes, row: Row, error: str) -> Bbox:
    """The place of a marker, in pixels."""
    x, y = axis.transData.transform((row["nfe"], _height(row, error)))
    size = 4 * axis.figure.dpi / 72
    return Bbox([[x - size, y - size], [x + size, y + size]])


def _line(axis: Axes, rows: Sequence[Row], error: str) -> list[Bbox]:
    """The places of the parts of the front, in pixels."""
    best = [(row["nfe"], _height(row, error)) for row in front(rows, error)]
    if not best:
        return []
    ends = [*best[1:], (RIGHT, best[-1][1])]
    parts = [part for (x, y), end in zip(best, ends, strict=True) for part in _corner(x, y, *end)]
    return [Bbox(axis.transData.transform(part)) for part in parts]


def _corner(x: float, y: float, to_x: float, to_y: float) -> list[list[tuple[float, float]]]:
    """A step of the front: right, then down; each as opposite corners."""
    return [[(x, y), (to_x, y)], [(to_x, to_y), (to_x, y)]]


def _height(row: Row, error: str) -> float:
    """Where a point is drawn; what is above the panel, or not finite, at its upper edge."""
    level = row[error]
    return TOP if level is None else min(max(level, BOTTOM), TOP)
