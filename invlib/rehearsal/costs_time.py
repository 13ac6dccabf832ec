"""Evaluations and times on the page "What it costs at full size"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..markdown import table
from .formulas import reading
from .units import COMPUTED, MEASURED, NOT, size, time

Values = dict[str, Any]

SAMPLERS = {"2M-20": 20, "DDIM-50": 50}
GUIDANCE = 3.0
SLOW = 64  # how much slower than float32 most graphics cards for games are in float64


def evaluation(costs: Values) -> str:
    """What one evaluation takes beyond the weights."""
    lines = [
        [
            row["title"],
            f"{size(row['activations'])}, {COMPUTED}",
            f"{row['rows']} x {row['flops'] / 1e12:.2f}, {COMPUTED}",
            f"{row['rows']} x {time(row_seconds(costs, arch))}, {_how(costs, arch)}",
        ]
        for arch, row in costs["networks"].items()
    ]
    lines.append(["each, on a GPU", NOT, "the same", NOT])
    return table(["network", "memory beyond weights", "10¹² operations", "CPU time"], lines)


def rates(costs: Values) -> str:
    """Speed of the CPU on every network that was measured."""
    found = ", ".join(
        f"{costs['networks'][arch]['title']} {rate(costs, [arch]) / 1e9:.0f}"
        for arch in costs["measured"]
    )
    together = rate(costs) / 1e9
    return (
        f"10⁹ operations a second, one thread, float32: {found}; together **{together:.0f}**, by "
        "which the seconds of the others are computed."
    )


def own(costs: Values) -> str:
    """A round of the search: its network beside its own linear algebra."""
    steps, lines = costs["round"], []
    for row in costs["networks"].values():
        network = steps * row["rows"] * row["flops"]
        share = row["algebra"] / network
        cells = (f"{network / 1e12:,.1f}", f"{row['algebra'] / 1e12:.3f}", f"{share:.3%}")
        slow = f"{SLOW * share:.2%}"
        lines.append([row["title"], *(f"{cell}, {COMPUTED}" for cell in (*cells, slow))])
    head = ["network", "10¹² of the network", "10¹² of the search", "share"]
    return table([*head, f"share of time, if {SLOW} times slower"], lines)


def evaluations(exactness: Values) -> str:
    """Evaluations of a call and of its inversion."""
    each: dict[str, tuple[Callable[[str], float], str]] = {
        "the call": (lambda name: SAMPLERS[name], COMPUTED),
        "reading it": (lambda name: reading(SAMPLERS[name]), COMPUTED),
        "search": (partial(searching, exactness), "measured on the embedded model"),
        "certificate": (lambda name: SAMPLERS[name], COMPUTED),
        "inverting: the last three": (partial(inverting, exactness), COMPUTED),
    }
    lines = [
        [what, *(f"{number(name):.0f}" for name in SAMPLERS), how]
        for what, (number, how) in each.items()
    ]
    return table(["evaluations", *SAMPLERS, "how it is known"], lines)


def seconds(costs: Values, exactness: Values) -> str:
    """Time of a call and of its inversion."""
    lines = []
    for arch, row in costs["networks"].items():
        one, cells = row["rows"] * row_seconds(costs, arch), [row["title"]]
        for name, steps in SAMPLERS.items():
            both = steps * one, inverting(exactness, name) * one
            cells.append(f"{time(both[0])} / {time(both[1])}, {COMPUTED}")
        lines.append(cells)
    lines.append(["each, on a GPU", *[NOT] * len(SAMPLERS)])
    return table(["network", *(f"{s}: the call / inverting" for s in SAMPLERS)], lines)


def row_seconds(costs: Values, arch: str) -> float:
    """CPU seconds of one row: measured, or its operations by the rate of all that was measured."""
    taken = costs["measured"].get(arch)
    if taken:
        return float(taken["cpu_seconds"])
    return float(costs["networks"][arch]["flops"] / rate(costs))


def searching(exactness: Values, sampler: str) -> float:
    """Evaluations an image of the search on the embedded model."""
    (row,) = (
        row for row in exactness["rows"] if (row["sampler"], row["guidance"]) == (sampler, GUIDANCE)
    )
    return float(row["nfe_per_image"])


def inverting(exactness: Values, sampler: str) -> float:
    """Evaluations of an inversion: reading, search and certificate."""
    steps = SAMPLERS[sampler]
    return reading(steps) + searching(exactness, sampler) + steps


def rate(costs: Values, archs: Iterable[str] | None = None) -> float:
    """Operations a second over the rows of some networks, or over all that were measured."""
    names = list(costs["measured"] if archs is None else archs)
    work = sum(costs["networks"][arch]["flops"] for arch in names)
    return float(work / sum(costs["measured"][arch]["cpu_seconds"] for arch in names))


def _how(costs: Values, arch: str) -> str:
    return MEASURED if arch in costs["measured"] else COMPUTED
