"""Draw what comes back of noise and image when a model is run as its makers run it."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ....plotting import COLORS, INK
from .cells import LIMIT

FLOOR = -160.0  # dB, where an error of zero is drawn
KINDS = {"image_db": ("image", "ours", "o"), "noise_db": ("noise", "truth", "s")}


def draw(summary: dict[str, Any]) -> Figure:
    """The level of both errors, one row a prompt, and the limit of a tick."""
    rows = summary["rows"]
    figure, axis = plt.subplots(figsize=(5.0, 1.2 + 0.35 * len(rows)))
    for key, (label, color, marker) in KINDS.items():
        levels = [FLOOR if row[key] is None else row[key] for row in rows]
        places = range(len(rows))
        axis.plot(levels, places, marker, color=COLORS[color], label=label, mec=INK, mew=0.4)
    axis.axvline(LIMIT, color=INK, linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(rows)), [f"prompt {row['prompt'] + 1}" for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(FLOOR - 5, 10)
    axis.set_xlabel("error of what comes back (dB)")
    axis.legend(loc="upper right", fontsize=9)
    return figure
