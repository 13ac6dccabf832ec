"""The look of every figure: one style, and one colour, marker and line for each method.

The colours are Okabe and Ito's, which colour-blind readers can tell apart, and every one has a
contrast of at least 3 to 1 with the background. A figure is 5 inches wide, so that its text has
the size of the page's text on a phone.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt

INK = "#262626"
PALE = "#D9D9D9"
COLORS = {
    "truth": INK,
    "naive": "#D55E00",
    "algorithm1": "#009E73",
    "algorithm2": "#CC79A7",
    "ours": "#0072B2",
}
MARKERS = {"truth": "o", "naive": "X", "algorithm1": "s", "algorithm2": "^", "ours": "D"}
LINES = {"truth": "-", "naive": "--", "algorithm1": "-.", "algorithm2": ":", "ours": "-"}
LABELS = {
    "truth": "truth",
    "naive": "naive inversion",
    "algorithm1": "Algorithm 1",
    "algorithm2": "Algorithm 2",
    "ours": "exact inversion",
}


def style() -> None:
    """Use the common style for all figures drawn from now on."""
    plt.rcParams.update(
        {
            "figure.figsize": (5.0, 3.8),
            "figure.dpi": 160,
            "savefig.dpi": 160,
            "figure.facecolor": "white",  # opaque: dark pages show the figure as a white card
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.linewidth": 0.8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=list(COLORS.values())),
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "lines.markersize": 6,
            "svg.hashsalt": "invlib",  # the same figure makes the same file
        }
    )


def stamp(text: str) -> None:
    """Write a mark across every picture that the cells of this notebook draw from now on."""
    from IPython import get_ipython

    def mark() -> None:
        for figure in map(plt.figure, plt.get_fignums()):
            place: Any = {"ha": "center", "va": "center", "rotation": 20, "fontsize": 16}
            figure.text(0.5, 0.5, text, alpha=0.5, color="black", **place)

    shell: Any = get_ipython()
    shell.events.register("post_execute", mark)  # before the one that shows pictures


def look(method: str) -> dict[str, Any]:
    """Colour, marker, line and label of a method, as keywords of ``plot``.

    Args:
        method: ``truth``, ``naive``, ``algorithm1``, ``algorithm2`` or ``ours``.
    """
    if method not in COLORS:
        raise ValueError(f"unknown method {method!r}; use one of {', '.join(COLORS)}")
    return {
        "color": COLORS[method],
        "marker": MARKERS[method],
        "linestyle": LINES[method],
        "label": LABELS[method],
    }
