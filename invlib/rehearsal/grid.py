"""A table in Markdown, and how its cells are written."""

from __future__ import annotations

from collections.abc import Iterable

COMPUTED, MEASURED, NOT = "computed", "measured", "not measured"


def grid(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A heading and lines of cells."""
    head = list(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def size(number: float) -> str:
    """Bytes."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def time(seconds: float) -> str:
    """A time, in seconds, minutes or hours."""
    units = {"s": (1, 120), "min": (60, 7200), "h": (3600, float("inf"))}  # size, and up to when
    name = next(name for name, (_, limit) in units.items() if seconds < limit)
    number = seconds / units[name][0]
    return f"{number:.1f} {name}" if number < 10 else f"{number:.0f} {name}"
