"""Claims: sentences with a number in them that raise when they are false."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .measured import read_results
from .whole import write_text

RECORD = "INVLIB_CLAIMS"  # environment variable: file that collects the values
NOT_HERE = "does not hold here: "  # begins the line of a false claim on other models
WIDE = 10.0  # a bound that is further from its value than this factor needs a reason
ROUNDOFF = 1000 * 2.0**-52  # what is less may be that much on another machine
DECIBELS = re.compile(r"\bdB\b")  # in a sentence whose number is a level


class ClaimError(AssertionError):
    """A claim does not hold."""


def claim(
    name: str,
    value: float | Tensor,
    *,
    below: float | None = None,
    above: float | None = None,
    equals: object = None,
    why: str = "",
) -> None:
    """State something about a number; print one stable line if it holds, raise if not.

    The line shows the bound, not the value, so that it is the same on every machine. The value
    and its :func:`slack` go to the JSON file named by the environment variable ``INVLIB_CLAIMS``,
    if that is set.

    Args:
        name: the sentence, in words.
        value: the measured number; for a tensor all of its entries must satisfy the claim.
        below: the value must be smaller than this.
        above: the value must be larger than this.
        equals: the value must equal this.
        why: why the bound is more than a factor of 10 away from the value, where it is.

    Raises:
        ClaimError: if the claim is false or the value is not a number; after :func:`elsewhere` a
            line says so instead.
        ValueError: if no bound is given.
    """
    if below is None and above is None and equals is None:
        raise ValueError(f"the claim {name!r} has no bound; give below=, above= or equals=")
    values = [value] if isinstance(value, int | float | str) else value.flatten().tolist()
    wrong = _wrong(values, below, above, equals)
    if wrong and not _elsewhere:
        raise ClaimError(f"false: {name}: {wrong}")
    parts = []
    parts += [f"< {below:g}"] if below is not None else []
    parts += [f"> {above:g}"] if above is not None else []
    parts += [f"= {equals}"] if equals is not None else []
    line = f"{name} {' and '.join(parts)}"
    if wrong:
        print(f"{NOT_HERE}{name}: {wrong}")
        if path := os.environ.get(RECORD):
            _record(Path(path), line, {"holds": False, "found": wrong})
        return
    if path := os.environ.get(RECORD):
        room = slack(values, below, above, level=bool(DECIBELS.search(name)))
        frame = sys._getframe(1)
        entry = {
            "value": values[0] if len(values) == 1 else [min(values), max(values)],
            "slack": float(f"{room:.3g}"),
            "at": f"{Path(frame.f_code.co_filename).stem}:{frame.f_lineno}",
            "why": why,
        }
        _record(Path(path), line, {name: value for name, value in entry.items() if value != ""})
    print(f"ok  {line}")


_elsewhere: list[Path] = []  # the record of a process whose models are not the embedded ones


def elsewhere(record: str | Path) -> None:
    """Say that what follows is measured on other models than the sentences were written for.

    A claim that does not hold is then printed and recorded, and nothing stops.

    Args:
        record: JSON file that collects all claims, those that do not hold with ``holds: false``.
    """
    _elsewhere.append(Path(record))
    os.environ[RECORD] = str(record)


def _wrong(
    values: Sequence[Any],
    below: float | None,
    above: float | None,
    equals: object,
) -> str:
    """What is false about some values; empty if nothing is."""
    for v in values:
        if isinstance(v, float) and math.isnan(v):
            return "the value is not a number"
        if below is not None and not v < below:
            return f"{v:.4g} is not below {below:g}"
        if above is not None and not v > above:
            return f"{v:.4g} is not above {above:g}"
        if equals is not None and v != equals:
            return f"{v!r} is not {equals!r}"
    return "" if values else "there is no value"


def slack(
    values: Sequence[float],
    below: float | None = None,
    above: float | None = None,
    *,
    level: bool = False,
) -> float:
    """By which factor the nearest of some values may move before it meets its bound.

    Equality leaves no room, and a bound of 0, or one whose sign is not that of the value, says no
    more than a sign: these have slack 1. What is less than a thousand units of round-off of float64
    counts as that much.

    Args:
        values: what was measured.
        below: the bound above them.
        above: the bound below them.
        level: whether they are in decibel: 20 of them are a factor of 10.

    Returns:
        The larger of the two, where there are two bounds.
    """
    found = [1.0]
    if below is not None and (level or below):
        found.append(_factor(float(max(values)), below, 1, level))
    if above is not None and (level or above):
        found.append(_factor(float(min(values)), above, -1, level))
    return max(found)


def _factor(value: float, bound: float, sign: int, level: bool) -> float:
    """How far a value is from its bound, which is above it (1) or below it (-1)."""
    if level:
        floor = 20 * math.log10(ROUNDOFF)
        return float(10 ** (sign * (bound - max(value, floor)) / 20))
    if sign > 0 and abs(value) < ROUNDOFF:
        value = math.copysign(ROUNDOFF, bound)
    return max(bound / value if value and sign * bound > 0 else value / bound, 1.0)


def _record(file: Path, line: str, entry: dict[str, object]) -> None:
    known = read_results(file) if file.exists() else {}
    known[line] = entry
    write_text(file, json.dumps(known, indent=1))
