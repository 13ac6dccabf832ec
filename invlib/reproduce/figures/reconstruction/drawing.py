"""Draw the noise errors of the reconstruction table, and lay the table out for the page."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ....plotting import INK, PALE, look
from .cells import MADE_BY, METHOD_NAMES

PARTS = {  # title of a part of the table, and which rows belong to it
    "Pixel space, from the image": ("pixel", False),
    "Latent space, CFG 3, from the true latent": ("latent", False),
    "Latent space, CFG 3, from the 8-bit picture": ("latent", True),
}
GREY = "#6E6E6E"
MISSING, SAME = "not measured", "no error"


def draw(values: dict[str, Any]) -> Figure:
    """Noise error of every method, one panel a part: full marks DDIM-50, hollow ones 2M-10."""
    parts = {title: part(values, title) for title in PARTS}
    names = {title: [*dict.fromkeys(label(r) for r in rows)] for title, rows in parts.items()}
    figure, axes = plt.subplots(
        len(parts),
        1,
        sharex=True,
        figsize=(5.0, 6.6),
        gridspec_kw={"height_ratios": [len(n) + 1 for n in names.values()]},
    )
    for axis, (title, rows) in zip(axes, parts.items(), strict=True):
        _panel(axis, rows, names[title])
        axis.set_title(title)
    axes[-1].set_xlabel("NMSE of the noise (dB), further left is better")
    for sampler, filled in zip(MADE_BY, (True, False), strict=True):
        axes[0].plot([], [], "o", color=INK, mfc=INK if filled else "white", label=sampler)
    figure.legend(loc="outside upper left", ncols=2, handletextpad=0.2)
    return figure


def part(values: dict[str, Any], title: str) -> list[dict[str, Any]]:
    """The rows of a part of the table."""
    space, pictures = PARTS[title]
    return [r for r in values["rows"] if (r["space"], bool(r["decoder"])) == (space, pictures)]


def label(row: dict[str, Any]) -> str:
    """A row without its sampler: method, and how the latents were found."""
    name, decoder = METHOD_NAMES[row["method"]], row["decoder"]
    if not decoder:
        return name
    return f"{name}, {'our D†' if decoder == 'ours' else decoder}"


def _panel(axis: Axes, rows: list[dict[str, Any]], names: list[str]) -> None:
    axis.axvline(0, color=PALE, linewidth=1)
    for row in rows:
        first = row["sampler"] == MADE_BY[0]
        y = names.index(label(row)) + (-0.16 if first else 0.16)
        known = row["method"] != "fpi"
        style = look(row["method"]) if known else {"color": GREY, "marker": "v"}
        color, marker = style["color"], style["marker"]
        axis.plot([row["noise_db_low"], row["noise_db_high"]], [y, y], color=color, linewidth=1)
        fill = color if first else "white"
        axis.plot(row["noise_db_median"], y, color=color, marker=marker, mfc=fill)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def lines(values: dict[str, Any], title: str) -> list[dict[str, str]]:
    """A part of the table as it is shown."""
    return [
        {
            "sampler": row["sampler"],
            "inversion": f"{label(row)} / {row['inversion_steps']}",
            "images": str(row["images"]),
            "noise NMSE": _mean(row, "noise_nmse"),
            "noise, median": _level(row["noise_db_median"]),
            "image NMSE": _mean(row, "image_nmse"),
            "image, median": _level(row["image_db_median"]),
            "SSIM": f"{row['ssim_mean']:.3f}",
            "PSNR": _level(row["psnr_median"]),
            "LPIPS": MISSING if row["lpips"] is None else f"{row['lpips']:.3f}",
        }
        for row in part(values, title)
    ]


def _mean(row: dict[str, Any], name: str) -> str:
    mean, std = row[f"{name}_mean"], row[f"{name}_std"]
    if mean is None:
        return "not finite"
    return f"{mean:.2g}" if std is None else f"{mean:.2g} ± {std:.1g}"


def _level(value: float | None) -> str:
    return SAME if value is None else f"{value:.0f} dB"
