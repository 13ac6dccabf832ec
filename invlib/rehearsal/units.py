"""How the cells of the tables of costs are written."""

from __future__ import annotations

COMPUTED, MEASURED, NOT = "computed", "measured", "not measured"


def size(number: float) -> str:
    """Bytes."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def time(seconds: float) -> str:
    """A time, in seconds, minutes or hours."""
    units = {"s": (1, 120), "min": (60, 7200), "h": (3600, float("inf"))}  # size, and up to when
    name = next(name for name, (_, limit) in units.items() if seconds < limit)
    number = seconds / units[name][0]
    return f"{number:.1f} {name}" if number < 10 else f"{number:.0f} {name}"
