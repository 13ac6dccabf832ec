"""How two folders of results differ: ``python -m invlib.reproduce.differences OLD NEW``.

On one machine results come back equal, but for seconds. On another one sums are rounded in another
order: numbers may differ by the tolerances below, levels at round-off by any amount.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..measured import read_results

RELATIVE = 0.05
DECIBEL = 1.0
ROUND_OFF = -90.0  # dB; what lies below is all the same
CLOCK = ("seconds", "seconds_decoder", "seconds_ratio", "ms_per_evaluation", "cpu_seconds")
HOST = ("device", "versions", "code")


def main(
    old: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    new: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
) -> None:
    """Name every number that differs by more than the tolerance; exit code 1 if there is one."""
    files = sorted(file.name for file in old.glob("*.json"))
    count, found = 0, []
    for name in files:
        before, after = ((folder / name) for folder in (old, new))
        if not after.exists():
            found.append(f"{name}: missing")
            continue
        one, two = (read_results(file) for file in (before, after))
        for path, left, right in pairs(one, two, name):
            count += 1
            if not close(path, left, right):
                found.append(f"{path}: {left} became {right}")
    print("\n".join(found))
    print(f"{len(found)} of {count} values in {len(files)} files differ")
    sys.exit(bool(found))


def pairs(one: Any, two: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """All values of two JSON objects that stand at the same place, with that place."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in one | two:
            if key not in (*CLOCK, *HOST):
                yield from pairs(one.get(key), two.get(key), f"{path} {key}")
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for number, (left, right) in enumerate(zip(one, two, strict=True)):
            yield from pairs(left, right, f"{path} {number}")
    else:
        yield path, one, two


def close(path: str, one: Any, two: Any) -> bool:
    """Whether two values agree within the tolerance for what stands there."""
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (one, two)):
        return bool(one == two)
    if "_db" in path:
        return abs(max(one, ROUND_OFF) - max(two, ROUND_OFF)) <= DECIBEL
    return abs(one - two) <= RELATIVE * max(abs(one), abs(two))


if __name__ == "__main__":
    typer.run(main)
