"""Draw Figure 6, and the spread of the editing table, from their results."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ....editing import pixel_mask
from ....plotting import COLORS, INK, PALE
from ...editing.cells import ROWS
from ...editing.errors import errors
from ...editing.table import Results
from ..figure2.drawing import error_map
from .cells import SHOWN

TINTS = {
    "oracle": COLORS["truth"],
    "naive": COLORS["naive"],
    "dagger": COLORS["algorithm2"],
    "algorithm1": COLORS["algorithm1"],
    "ours": COLORS["ours"],
}


def draw(values: dict[str, Tensor]) -> Figure:
    """Rows: what is asked for, then the methods. Columns, for each portrait: edits and errors.

    Args:
        values: the results of one guidance scale.
    """
    many, each = values["oracle/given"].shape[:2]
    wide = 2 * each
    figure, axes = plt.subplots(
        len(SHOWN) + 1,
        many * wide,
        figsize=(1.46 * many * wide + 1.1, 1.74 * (len(SHOWN) + 1) + 0.2),
        squeeze=False,
        dpi=75,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for p in range(many):
        first = wide * p
        _asked(axes[0, first : first + wide], values, p, each)
        for i, row in enumerate(SHOWN, 1):
            background = errors(values, row)["background"][p]
            for v in range(each):
                edited = values[f"{row}/given"][p, v]
                _show(axes[i, first + v], edited)
                hidden = _pixels(values["masks"][p, v], edited)
                wrong = error_map(values["picture"][p] / 255, edited / 255, scale=5.0)
                wrong = torch.where(hidden, torch.ones(()), wrong)
                axis = axes[i, first + each + v]
                _show(axis, (255 * wrong).round().to(torch.uint8))
                axis.set_xlabel(f"{background[v]:.4f}", fontsize=11, labelpad=2)
        titles = [f"edit {v + 1}" for v in range(each)]
        titles += [f"error {v + 1} \u00d75" for v in range(each)]
        for axis, title in zip(axes[1, first : first + wide], titles, strict=True):
            axis.set_title(title, fontsize=11, pad=4, loc="center")
    for i, label in enumerate(["", *(ROWS[row].label for row in SHOWN)]):
        axes[i, 0].set_ylabel(
            label.replace(" + ", "\n+ "),
            fontsize=11,
            weight="bold" if i == len(SHOWN) else "normal",
        )
    return figure


def spread(results: Results) -> Figure:
    """The background error of every edit, and the median of each row; one panel a scale."""
    figure, axes = plt.subplots(
        len(results), 1, figsize=(5.0, 2.9 * len(results)), sharex=True, layout="constrained"
    )
    for axis, (scale, values) in zip(np.atleast_1d(axes), results.items(), strict=True):
        for i, row in enumerate(SHOWN):
            found = 1e3 * errors(values, row)["background"]
            shift = torch.linspace(-0.22, 0.22, len(found))
            for p, of_portrait in enumerate(found):
                at = torch.full((len(of_portrait),), i + shift[p].item())
                axis.plot(of_portrait, at, "o", color=TINTS[row], alpha=0.65, markersize=5)
            median = found.quantile(0.5).item()
            axis.plot([median, median], [i - 0.36, i + 0.36], color=INK, linewidth=2.2)
        axis.set_xscale("log")
        axis.set_ylim(len(SHOWN) - 0.4, -0.6)
        axis.set_yticks(range(len(SHOWN)), [ROWS[row].label for row in SHOWN])
        axis.grid(axis="x", color=PALE, linewidth=0.6)
        axis.set_title(f"CFG {scale:g}")
    axis.set_xlabel("background NMSE of each edit, times 1000")
    return figure


def _asked(axes: np.ndarray, values: dict[str, Tensor], p: int, each: int) -> None:
    """The first row of a portrait: the picture, the mask, and what the renderer draws."""
    picture = values["picture"][p]
    hidden = _pixels(values["masks"][p, 0], picture)
    veiled = torch.where(hidden, picture, (picture / 3 + 170).to(torch.uint8))
    shown = [picture, veiled, *values["targets"][p]]
    titles = ["original", "may change", *(f"rendered {v + 1}" for v in range(each))]
    for axis, what, title in zip(axes, shown, titles, strict=True):
        _show(axis, what)
        axis.set_title(title, fontsize=11, pad=4, loc="center")


def _pixels(mask: Tensor, picture: Tensor) -> Tensor:
    """The pixels of a mask of latents ``[h, w]``, bool ``[1, H, W]``."""
    return pixel_mask(mask[None, None], (picture.shape[-2], picture.shape[-1]))[0].bool()


def _show(axis: Axes, picture: Tensor) -> None:
    axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
