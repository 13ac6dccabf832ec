"""Draw Figure 1 from its results."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, ConnectionPatch, Rectangle
from torch import Tensor

from ....plotting import INK, look
from .cells import MEANS, NODE, STD

GREY = "#8C8C8C"
NAIVE, PAPER = look("naive")["color"], look("algorithm2")["color"]
LENS = (-0.72, 1.02, 2.34, 1.42)  # left, bottom, width and height of what the second panel shows


def draw(result: dict[str, Tensor]) -> Figure:
    """Above: the whole trajectory and its inversions. Below: one step of Algorithm 2."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(5.0, 7.55), gridspec_kw={"height_ratios": (4.62, 3.1)}
    )
    _trajectories(above, result)
    _step(below, result)
    for axis in (above, below):
        axis.set(aspect="equal", xticks=[], yticks=[])
        axis.spines[:].set(visible=True, color=GREY)
    left, bottom, width, height = LENS
    above.add_patch(Rectangle((left, bottom), width, height, fill=False, edgecolor=GREY, zorder=1))
    for x, part in ((left, 0), (left + width, 1)):
        ends = {"xyA": (x, bottom), "coordsA": above.transData, "xyB": (part, 1)}
        figure.add_artist(ConnectionPatch(**ends, coordsB=below.transAxes, color=GREY))
    return figure


def _trajectories(axis: Axes, result: dict[str, Tensor]) -> None:
    """The sampler's states, and those that each method recovers from the last one."""
    for place in MEANS:
        for size in (2, 1):
            axis.add_patch(Circle(place, size * STD, color=INK, alpha=0.09, linewidth=0))
    truth = result["states/truth"]
    again = result["again/naive"]
    axis.plot(*again.T, color=NAIVE, linewidth=1, linestyle=(0, (1, 1.6)), zorder=2)
    axis.plot(*again[-1], "*", color=NAIVE, markersize=12, zorder=4)
    ring = {"markerfacecolor": "none", "markersize": 12, "markeredgewidth": 1.8, "zorder": 4}
    for name, shape in (
        ("truth", {"zorder": 3, "linewidth": 2.2}),
        ("naive", {"zorder": 5, "markersize": 7}),
        ("algorithm2", {"zorder": 6, "markersize": 7}),
        ("ours", ring | {"linestyle": "none", "marker": "D"}),
    ):
        axis.plot(*result[f"states/{name}"].T, **(look(name) | shape))
    _heads(axis, truth, INK)
    for name in ("naive", "algorithm2"):
        _heads(axis, result[f"states/{name}"].flip(0), look(name)["color"])
    _note(axis, "noise", truth[0], (-12, 13), ha="center")
    _note(axis, "image", truth[-1], (12, -4))
    _note(axis, "another noise", result["states/naive"][0], (8, -10), color=NAIVE)
    _note(axis, "another image", again[-1], (-10, 2), color=NAIVE, ha="right")
    axis.set(xlim=(-2.3, 3.2), ylim=(0.12, 4.5))
    axis.legend(loc="upper left", handlelength=2.6, borderaxespad=0.3)


def _heads(axis: Axes, states: Tensor, color: str) -> None:
    """Arrow heads in the middle of the long segments."""
    for start, end in zip(states[:-1], states[1:], strict=True):
        if (end - start).norm() > 0.6:
            tip, tail = (tuple(start + part * (end - start)) for part in (0.56, 0.46))
            shape = {"arrowstyle": "-|>", "color": color, "mutation_scale": 16, "linewidth": 0}
            axis.annotate("", tip, tail, arrowprops=shape, zorder=5)


def _step(axis: Axes, result: dict[str, Tensor]) -> None:
    """How Algorithm 2 finds a state from the one after it."""
    known, exact = result["states/algorithm2"][NODE + 1], result["states/truth"][NODE]
    rough, fine, term = result["step/rough"], result["step/fine"], result["step/term"]
    iterates = result["step/iterates"]
    shifted = known - term
    axis.plot(*result["states/truth"].T, color=INK, alpha=0.25, linewidth=1.8, zorder=2)
    chord = {"color": PAPER, "linestyle": look("algorithm2")["linestyle"], "zorder": 2}
    axis.plot(*result["states/algorithm2"][NODE : NODE + 2].T, **chord)
    axis.plot(*fine.T, ".", color=NAIVE, markersize=4, zorder=3)
    axis.plot(*rough.T, "X", color=NAIVE, markersize=9, zorder=5)
    for place, bend in zip(rough, (0.3, 0.28), strict=True):
        shape = {"arrowstyle": "-", "linestyle": (0, (4, 2)), "color": GREY, "linewidth": 1.2}
        shape |= {"connectionstyle": f"arc3,rad={bend}", "shrinkA": 6, "shrinkB": 8}
        axis.annotate("", tuple(known), tuple(place), arrowprops=shape, zorder=1)
    shape = {"arrowstyle": "-|>", "linewidth": 2.2, "color": INK}
    axis.annotate("", tuple(shifted), tuple(known), arrowprops=shape | {"shrinkB": 0})
    axis.plot(*shifted, "o", color=INK, markerfacecolor="white", markersize=8, zorder=5)
    axis.plot(*iterates.T, ".-.", color=PAPER, linewidth=1.8, markersize=6, zorder=4)
    axis.plot(*iterates[-1], "^", color=PAPER, markersize=10, zorder=6)
    axis.plot(*known, "^", color=PAPER, markersize=10, zorder=6)
    axis.plot(*exact, "o", color=INK, markersize=7, zorder=5)
    ring: dict[str, Any] = {"markerfacecolor": "none", "markersize": 13, "markeredgewidth": 1.8}
    axis.plot(*exact, marker="D", color=look("ours")["color"], **ring)
    _note(axis, rf"$\hat x_{NODE + 1}$", known, (4, -19), color=PAPER)
    _note(axis, rf"$\hat x_{NODE}$", iterates[-1], (-9, -3), color=PAPER, ha="right")
    _note(axis, rf"$\hat y_{NODE}$", rough[0], (2, -19), color=NAIVE)
    _note(axis, rf"$\hat y_{NODE - 1}$", rough[1], (-4, 10), color=NAIVE)
    _note(axis, rf"true $x_{NODE}$", exact, (12, 0))
    _note(
        axis,
        "backward\nEuler",
        iterates[0] + 0.5 * (iterates[-1] - iterates[0]),
        (-8, 0),
        color=PAPER,
        ha="right",
        va="center",
    )
    _note(axis, "fine naive steps", fine[len(fine) * 2 // 3], (16, -24), color=NAIVE, ha="center")
    _note(axis, "high-order\nterm", shifted, (-2, 8), ha="center")
    left, bottom, width, height = LENS
    axis.set(xlim=(left, left + width), ylim=(bottom, bottom + height))


def _note(axis: Axes, text: str, place: Tensor, shift: tuple[float, float], **style: Any) -> None:
    """A word next to a point, shifted by some dots."""
    options: dict[str, Any] = {"fontsize": 11, "color": INK, "zorder": 7} | style
    axis.annotate(text, tuple(place), shift, textcoords="offset points", **options)
