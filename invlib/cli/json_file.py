"""JSON that somebody else may have written."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from ..pipelines.images import picture_kind

MOST = 2**26  # bytes


def read_json(path: Path, kind: str, option: str = "") -> Any:
    """What a file of JSON holds: every name once, every number finite.

    Args:
        path: the file.
        kind: what it should be, for the sentence about another one.
        option: the option that names it, where the sentence says it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    said = f"{option} {path}".strip()
    if picture := picture_kind(path):
        raise ValueError(f"{said} is a picture ({picture}), no {kind}")
    if path.stat().st_size > MOST:
        raise ValueError(f"{said} has more than {MOST >> 20} MB, which is too much for a {kind}")
    try:
        return json.loads(
            path.read_text(encoding="utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{said} is no JSON file that can be read ({error})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is given twice")
    return dict(pairs)


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is more than a number can be")
    return number
