"""Lay out the comparison table, and draw the levels behind its ticks and crosses."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ....plotting import INK, PALE, look
from .cells import COLUMNS, METHODS, OWN, SHARE

MARKS = ("naive", "algorithm1", "algorithm2", "ours")  # the look of each column
TOP = 40.0  # worse levels are drawn here


def draw(values: dict[str, Any]) -> Figure:
    """Round-trip level of every method, one mark a column; a tick needs the left side."""
    rows = values["rows"]
    names = [*dict.fromkeys(name_of(r) for r in rows)]
    figure, axis = plt.subplots(figsize=(5.0, 5.4))
    axis.axvspan(-400, values["limit_db"], color="#E8F1F8", linewidth=0)
    for level in (values["limit_db"], values["near_db"]):
        axis.axvline(level, color=INK, linewidth=0.8, linestyle=":")
    for y in range(1, len(names)):
        axis.axhline(y - 0.5, color=PALE, linewidth=0.6)
    for number, (column, style) in enumerate(zip(COLUMNS, MARKS, strict=True)):
        color, marker = look(style)["color"], look(style)["marker"]
        here = [r for r in rows if r["column"] == column.label]
        levels = [TOP if r["round_trip_db"] is None else r["round_trip_db"] for r in here]
        places = [names.index(name_of(r)) + 0.2 * (number - 1.5) for r in here]
        axis.plot(
            [min(level, TOP) for level in levels],
            places,
            linestyle="",
            marker=marker,
            color=color,
            label=column.label,
        )
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(-320, TOP + 15)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("round trip: NMSE of the image (dB)")
    figure.legend(loc="outside upper left", ncols=2, handletextpad=0.2, columnspacing=1.0)
    return figure


def name_of(row: dict[str, Any]) -> str:
    """The name of a method on two lines, with whose images it is given."""
    first, _, rest = METHODS[row["method"]].partition(" (")
    name = f"{first}\n{rest.removesuffix(')')}" if rest else first
    return f"{name},\nown images" if row["images_of"] == OWN else name


def lines(values: dict[str, Any]) -> list[dict[str, str]]:
    """The table as it is shown: a line a method, a mark and its level in every column."""
    known = {(r["method"], r["images_of"], r["column"]): r for r in values["rows"]}
    table = []
    for method, images in dict.fromkeys((r["method"], r["images_of"]) for r in values["rows"]):
        here = [known.get((method, images, column.label)) for column in COLUMNS]
        name = METHODS[method] + (", images of its own" if images == OWN else "")
        marks = {c.label: shown(r) for c, r in zip(COLUMNS, here, strict=True)}
        table.append({"method": name, **marks, "certified": certified(here)})
    return table


def shown(found: dict[str, Any] | None) -> str:
    """One entry of the table."""
    if found is None:
        return "not measured"
    text = f"{found['mark']} {decibels(found['round_trip_db'])}"
    return f"{text} (paper {found['paper']})" if found["paper"] else text


def decibels(level: float | None) -> str:
    """A level as it is shown."""
    return "not finite" if level is None else f"{level:.0f} dB"


def certified(found: list[dict[str, Any] | None]) -> str:
    """In how many of the measured columns the certificate says exact for enough images."""
    measured = [r for r in found if r is not None]
    passed = sum(r["certified"] >= SHARE for r in measured)
    return f"{'✔' if passed == len(measured) else '✗'} {passed} of {len(measured)}"
