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
        ValueError: if there is no such table, or its file is damaged.
    """
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    known = sorted(file.stem for file in folder.glob("*.json"))
    if name not in known:
        raise ValueError(f"no measured table {name!r}; use one of {', '.join(known)}")
    return read_results(folder / f"{name}.json")


def read_results(path: Path, *needed: str) -> dict[str, Any]:
    """The values of a results file.

    Args:
        path: the file.
        needed: names that it must have.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
        if isinstance(values, dict) and values.keys() >= {*needed}:
            return values
        lacks = isinstance(values, dict)
        reason = f"it lacks {', '.join({*needed} - {*values})}" if lacks else "it holds no object"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise ValueError(
        f"the results file {path} is damaged ({reason}): `git checkout {path}` brings it back in a "
        "clone, a new installation in a package; or remove it and make it again"
    )
