"""Draw the run-time table: cost against error, and cost beside the paper's."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ....plotting import INK, look
from ..reconstruction.cells import MADE_BY
from ..reconstruction.drawing import GREY

PLACES = {  # where a label stands beside its mark, in points
    "ours": (8, 0, "left"),
    "naive_1000": (0, 8, "center"),
    "naive": (8, 0, "left"),
    "fpi": (8, 0, "left"),
    "algorithm1": (-8, 0, "right"),
}


def draw(values: dict[str, Any]) -> Figure:
    """Noise error against network evaluations; the cost of each method beside the paper's."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(5.0, 6.4), gridspec_kw={"height_ratios": [1.25, 1]}
    )
    _errors(above, values["rows"])
    _ratios(below, values["rows"])
    return figure


def _style(method: str) -> dict[str, Any]:
    if method == "fpi":
        return {"color": GREY, "marker": "v"}
    found = look(method.removesuffix("_1000"))
    return {"color": found["color"], "marker": found["marker"]}


def _errors(axis: Axes, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        style, first = _style(row["method"]), row["sampler"] == MADE_BY[0]
        fill = style["color"] if first else "white"
        at = row["nfe"], row["noise_db_median"]
        axis.plot(*at, **style, linestyle="", mfc=fill)
        if first or row["method"] == "algorithm2":
            x, y, side = PLACES.get(row["method"], (0, -14, "center"))
            axis.annotate(
                row["name"],
                at,
                (x, y),
                textcoords="offset points",
                ha=side,
                va="center",
                color=style["color"],
                fontsize=10,
            )
    for sampler, fill in zip(MADE_BY, (INK, "white"), strict=True):
        axis.plot([], [], "o", color=INK, mfc=fill, label=sampler)
    axis.legend(loc="center left", handletextpad=0.2)
    axis.set_xscale("log")
    axis.set_xticks([50, 200, 1000, 4000], ["50", "200", "1000", "4000"])
    axis.set_xlim(35, 9000)
    axis.set_ylim(-125, 8)
    axis.set_xlabel("network evaluations an image")
    axis.set_ylabel("noise NMSE (dB)")
    axis.set_title("What an inversion costs and reaches")


def _ratios(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """One line a method, of the sampler that it is for."""
    shown = [r for r in rows if r["sampler"] == MADE_BY[0] or r["method"] == "algorithm2"]
    shown += [r for r in rows if r["sampler"] != MADE_BY[0] and r["method"] == "ours"]
    for y, row in enumerate(shown):
        style = _style(row["method"])
        axis.plot(row["nfe_ratio"], y, **style, linestyle="")
        if row["paper_ratio"] is not None:
            axis.plot(row["paper_ratio"], y, "|", color=INK, markersize=16, markeredgewidth=2)
    axis.plot([], [], "o", color=INK, label="here, evaluations")
    axis.plot([], [], "|", color=INK, markersize=12, markeredgewidth=2, label="paper, seconds")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, handletextpad=0.2)
    names = [f"{r['name']}" + (" (2M)" if r["sampler"] != MADE_BY[0] else "") for r in shown]
    axis.set_yticks(range(len(shown)), names)
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xscale("log")
    axis.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axis.set_xlabel("cost relative to naive / 50")
