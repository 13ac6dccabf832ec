"""Options that several commands share, as one parameter of each."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def bundled(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with the options of its bundles in their places.

    Args:
        command: a function; each parameter whose type is a dataclass is a bundle. The fields of
            that, which have defaults, are the options.
    """
    own = inspect.signature(command, eval_str=True)
    types = {name: p.annotation for name, p in own.parameters.items()}
    kinds: dict[str, Any] = {name: kind for name, kind in types.items() if is_dataclass(kind)}
    options = []
    for name, parameter in own.parameters.items():
        options += _options(kinds[name]) if name in kinds else [parameter]

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        for name, kind in kinds.items():
            values[name] = kind(**{f.name: values.pop(f.name) for f in fields(kind)})
        return command(**values)

    # KEYWORD_ONLY, so that an option without a default may follow one with it
    given = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in options]
    run.__signature__ = own.replace(parameters=given)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in given}
    return run


def _options(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    place = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(f.name, place, default=f.default, annotation=hints[f.name])
        for f in fields(kind)
    ]
