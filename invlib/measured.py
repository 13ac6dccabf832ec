"""The measured tables: the JSON files of ``results/``, which come with the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

INSTALLED = Path(__file__).with_name("measured_tables")  # in a wheel: see setup.py
CHECKOUT = Path(__file__).parents[1] / "results"


def results(name: str) -> dict[str, Any]:
    """A table of measured values, such as ``exactness``, with the versions it was made with.

    Args:
        name: name of a file in ``results/``, without its ending.

    Raises:
        ValueError: if there is no such table.
    """
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    known = sorted(file.stem for file in folder.glob("*.json"))
    if name not in known:
        raise ValueError(f"no measured table {name!r}; use one of {', '.join(known)}")
    values: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return values
