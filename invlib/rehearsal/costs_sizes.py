"""Sizes on the page "What it costs at full size"."""

from __future__ import annotations

from ..markdown import table
from .costs_time import SAMPLERS, Values
from .formulas import (
    STATE,
    Pairs,
    inversion_bytes,
    pair_bytes,
    pairs_at_most,
    trajectory_bytes,
)
from .units import COMPUTED, MEASURED, NOT, size

MACHINE = 24e9  # bytes of memory of a small CPU machine


def networks(costs: Values) -> str:
    """Parameters and weights."""
    lines = [
        [
            row["title"],
            f"{row['pixels']} px",
            f"{row['parameters'] / 1e6:,.1f} M, {COMPUTED}",
            " / ".join(f"{w * row['numbers'] / 1e9:.1f}" for w in (2, 4, 8)) + f" GB, {COMPUTED}",
        ]
        for row in costs["networks"].values()
    ]
    return table(["network", "picture", "parameters", "weights, 16 / 32 / 64 bit"], lines)


def check(costs: Values, peak: Values) -> str:
    """Counted beside measured, for what was measured."""
    lines = []
    for arch, taken in costs["measured"].items():
        row = costs["networks"][arch]
        lines.append([f"{row['title']}, one row", row, row["activations_of_a_row"], taken["bytes"]])
    for taken in peak["rows"]:
        row, steps = costs["networks"][taken["arch"]], taken["steps"]
        call = row["activations"] + STATE * row["state"]
        pairs = Pairs(taken["rounds"], STATE)
        back = inversion_bytes(0, row["activations"], steps, row["state"], pairs)
        name = f"{row['title']}, 2M-{steps}, the call"
        lines.append([name, row, call, round(1e9 * taken["sampling_gb"])])
        name = f"{row['title']}, 2M-{steps}, {taken['rounds']} round of inverting"
        lines.append([name, row, back, round(1e9 * taken["inversion_gb"])])
    shown = [
        [name, size(counted), size(row["convolution"]), size(used), f"{counted / used:.2f}"]
        for name, row, counted, used in lines
    ]
    head = ["what", "computed", "largest convolution, computed", "measured", "computed : measured"]
    return table(head, shown)


def memory(costs: Values, peak: Values) -> str:
    """Peak memory of a call and of its inversion."""
    lines = []
    for arch, row in costs["networks"].items():
        weights = 4 * row["numbers"]
        used = {taken["arch"]: 1e9 * taken["sampling_gb"] for taken in peak["rows"]}
        sampling = weights + used.get(arch, row["activations"] + STATE * row["state"])
        how = MEASURED if arch in used else COMPUTED
        cells = [row["title"], f"{size(sampling)}, {how}"]
        for steps in SAMPLERS.values():
            pairs = pairs_at_most(steps, row["state"], _free(weights))
            most = inversion_bytes(weights, row["activations"], steps, row["state"], pairs)
            cells.append(f"{size(most)}, {COMPUTED}")
        lines.append(cells)
    lines.append(["each, on a GPU", *[NOT] * 3])
    return table(["network", "the call", *(f"inverting {s}" for s in SAMPLERS)], lines)


def parts(costs: Values) -> str:
    """States and pairs of an inversion, all computed."""
    lines = []
    for row in costs["networks"].values():
        numbers, cells = row["state"], [row["title"], f"{size(STATE * row['state'])}, {COMPUTED}"]
        for steps in SAMPLERS.values():
            pairs = pairs_at_most(steps, numbers, _free(4 * row["numbers"]))
            one = pair_bytes(steps, numbers, pairs.width)
            states = trajectory_bytes(steps, numbers)
            cells.append(
                f"{size(states)} and {pairs.count} x {size(one)} ({8 * pairs.width} bit), "
                f"{COMPUTED}"
            )
        lines.append(cells)
    head = ["network", "a state", *(f"{s}: states, and pairs at most" for s in SAMPLERS)]
    return table(head, lines)


def _free(weights: int) -> float | None:
    """What is free beside the weights; plenty where they do not fit on the machine at all."""
    return MACHINE - weights if weights < MACHINE else None
