"""What a command found: a short table, or one JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from tqdm import tqdm


def show(values: dict[str, Any], *, as_json: bool) -> None:
    """Print results on stdout: one line each, or one JSON object in which NaN is null."""
    if as_json:
        typer.echo(json.dumps(_plain(values)))
        return
    width = max(len(name) for name in values) + 2
    for name, value in values.items():
        lines = list(value) if isinstance(value, list | tuple) else [value]
        for i, line in enumerate(lines):
            label = "" if i else name.replace("_", " ")
            typer.echo(f"{label:<{width}}{_text(line)}")


@contextmanager
def counting(module: Any, label: str, *, quiet: bool = False) -> Iterator[None]:
    """Show on stderr how often a network is called; nothing where stderr is no terminal."""
    with tqdm(desc=label, unit=" calls", disable=True if quiet else None, leave=False) as bar:
        hook = module.register_forward_hook(lambda *_: bar.update() and None)
        try:
            yield
        finally:
            hook.remove()


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
