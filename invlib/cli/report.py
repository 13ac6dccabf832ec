"""What a command found: a short table, or one JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from .errors import harmless
from .ticker import fall_silent


def show(values: dict[str, Any], *, as_json: bool) -> None:
    """Print results on stdout: one line each, or one JSON object in which NaN is null."""
    fall_silent()
    if as_json:
        typer.echo(json.dumps(_plain(values)))
        return
    width = max(len(name) for name in values) + 2
    for name, value in values.items():
        if isinstance(value, dict):
            value = [f"{key}: {_text(entry)}" for key, entry in value.items()]
        lines = list(value) if isinstance(value, list | tuple) else [value]
        for i, line in enumerate(lines):
            label = "" if i else name.replace("_", " ")
            typer.echo(f"{label:<{width}}{_text(line)}")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows of values under their names, in columns; a value that is none is a dash."""
    cells = [list(columns), *([_entry(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        " ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def described(call: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call in plain values: what is none is named."""
    return {name: _described(value) for name, value in call.items()}


def _described(value: Any) -> Any:
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, list | tuple):
        return [_described(part) for part in value]
    if isinstance(value, dict):
        return {str(name): _described(part) for name, part in value.items()}
    kind = type(value).__name__
    size = getattr(value, "shape", getattr(value, "size", None))
    return kind if size is None else f"{kind} {' x '.join(map(str, size))}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else harmless(str(value))


def _entry(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
