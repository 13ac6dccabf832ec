"""Draw the graphical abstract from its results."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from ....metrics import decibel
from ....plotting import INK, look

SIZE = (12.0, 7.2)
LEFT, RIGHT = 0.14, 0.88  # where the noise and the image are, as parts of the width
SIDE = 0.094  # of a picture, as a part of the width
TOP, BOTTOM = 0.85, 0.14  # middle lines of the two rows of pictures
NAIVE, FIXED = look("naive")["color"], look("algorithm1")["color"]
GREY = "#8C8C8C"


def draw(result: dict[str, Tensor]) -> Figure:
    """The true states above, those of naive inversion below, the distances between them."""
    figure = plt.figure(figsize=SIZE, dpi=100, layout="none")
    places = np.linspace(LEFT, RIGHT, len(result["pictures/truth"]))
    for name, y, color in (("truth", TOP, INK), ("naive", BOTTOM, NAIVE)):
        for x, picture in zip(places, result[f"pictures/{name}"], strict=True):
            _picture(figure, x, y, picture, color)
        for x in (places[:-1] + places[1:]) / 2:
            _arrow(figure, x, y, color, forward=name == "truth")
    axis = figure.add_axes((LEFT, 0.275, RIGHT - LEFT, 0.415))
    _distances(axis, result)
    _magnified(axis, result)
    _words(figure, len(result["search"]), decibel(result["noise_nmse/naive"]).item())
    return figure


def _picture(figure: Figure, x: float, y: float, picture: Tensor, color: str) -> None:
    """One picture, centred at a place of the figure."""
    height = SIDE * SIZE[0] / SIZE[1]
    axis = figure.add_axes((x - SIDE / 2, y - height / 2, SIDE, height))
    axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, color=color, linewidth=2)


def _arrow(figure: Figure, x: float, y: float, color: str, *, forward: bool) -> None:
    """A short dashed arrow between two pictures."""
    half = 0.0105 if forward else -0.0105
    line: dict[str, Any] = {"color": color, "linewidth": 2.2, "linestyle": (0, (1.6, 1.0))}
    figure.add_artist(Line2D([x - half, x + 0.3 * half], [y, y], **line))
    marker = ">" if forward else "<"
    figure.add_artist(Line2D([x + 0.6 * half], [y], color=color, marker=marker, markersize=8))


def _distances(axis: Axes, result: dict[str, Tensor]) -> None:
    """Distance to the true state: the drift of the naive method, the teeth of Algorithm 1."""
    naive = result["distance/naive"]
    n = len(naive) - 1
    axis.plot(range(n + 1), [0] * (n + 1), "o-", color=INK, markersize=6.5, clip_on=False, zorder=5)
    shape = look("naive") | {"linewidth": 2.4, "markersize": 9, "zorder": 4, "clip_on": False}
    axis.plot(range(n + 1), naive, **shape)
    for i in range(n):
        _tooth(axis, result, i)
    axis.set(xlim=(0, n), ylim=(1.02 * naive[0].item(), -0.02), xticks=[])
    axis.yaxis.tick_right()
    axis.yaxis.set_label_position("right")
    axis.set_ylabel("distance to the true state", fontsize=15, labelpad=8)
    axis.tick_params(axis="y", labelsize=13)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.spines["right"].set_visible(True)


def _tooth(axis: Axes, result: dict[str, Tensor], i: int, size: float = 1.0) -> None:
    """One step of Algorithm 1: the naive start from state i+1, and the way back to state i."""
    tries = result["search"][i]
    tries = tries[~tries.isnan()]
    begin = result["distance/tight"][i + 1]
    axis.plot([i + 1, i], [begin, tries[0]], color=NAIVE, linewidth=1.6 * size, clip_on=False)
    shape = {"color": FIXED, "linewidth": 2.6, "markersize": 6 * size, "clip_on": False}
    axis.plot([i] * len(tries), tries, ".-", **shape)


def _magnified(axis: Axes, result: dict[str, Tensor]) -> None:
    """The tooth next to the image, larger, in the empty corner."""
    n = len(result["search"])
    lens = axis.inset_axes((0.64, 0.0, 0.345, 0.5))
    _tooth(lens, result, n - 1, size=1.7)
    lens.plot([n - 1, n], [0, 0], "o-", color=INK, markersize=9)
    height = result["search"][n - 1, 0].item()
    lens.set(xlim=(n - 1.62, n + 0.16), ylim=(1.25 * height, -0.2 * height), xticks=[], yticks=[])
    for spine in lens.spines.values():
        spine.set(visible=True, color=GREY, linewidth=1)
    lens.text(n - 0.5, 0.72 * height, "naive step", color=NAIVE, fontsize=14, va="center")
    lens.text(
        n - 1.05, 0.5 * height, "backward\nEuler", color=FIXED, fontsize=14, va="center", ha="right"
    )
    lens.set_facecolor("#FAFAFA")
    edge: dict[str, Any] = {"color": GREY, "linewidth": 1, "clip_on": False}
    low = 1.3 * height
    axis.add_patch(Rectangle((n - 1.2, -0.015), 1.33, low + 0.015, fill=False, **edge))
    axis.plot([n - 0.6, n - 0.6], [low, axis.get_ylim()[0] * 0.5], **edge)


def _words(figure: Figure, steps: int, error: float) -> None:
    """The few words on the picture."""
    big: dict[str, Any] = {"fontsize": 15.5, "ha": "center", "va": "center"}
    middle, high, low = (LEFT + RIGHT) / 2, 0.965, 0.024
    figure.text(LEFT, high, "noise", **big)
    figure.text(RIGHT, high, "image", **big)
    figure.text(middle, high, f"generation: DDIM, {steps} steps", weight="bold", **big)
    figure.text(LEFT, low, "another noise", color=NAIVE, **big)
    figure.text(middle, low, "naive DDIM inversion", color=NAIVE, weight="bold", **big)
    text = "Algorithm 1: every step is corrected"
    figure.text(middle, 0.725, text, color=FIXED, weight="bold", **big)
    x = 0.042
    for start, end in ((TOP, 0.575), (BOTTOM, 0.385)):
        bend = [LEFT - SIDE / 2 - 0.008, x, x], [start, start, end]
        figure.add_artist(Line2D(*bend, color=GREY, linewidth=1.6))
    figure.text(x, 0.513, "\u2260", fontsize=52, color=NAIVE, ha="center", va="center")
    figure.text(x + 0.004, 0.425, f"{error:.1f} dB".replace("-", "\u2212"), color=NAIVE, **big)
