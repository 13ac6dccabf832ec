"""Filling the constructor of a pipeline with small parts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

Makers = Mapping[str, Callable[[], Any]]


def assemble(cls: type, given: Mapping[str, Any], makers: Makers) -> Any:
    """A pipeline of the parts given, and of a small one for each further part that it requires.

    Args:
        cls: the class of the pipeline.
        given: parts by name, each as it is or, if it can be called, as the function that makes it.
        makers: functions that make the other parts, by the types that a constructor names.

    Raises:
        LookupError: if a part is required, but neither given nor known by its type.
    """
    parts = {name: made(part) for name, part in given.items()}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in parts and parameter.default is parameter.empty:
            parts[name] = _maker(parameter, makers)()
    return cls(**{name: awake(part) for name, part in parts.items()})


def made(part: Any) -> Any:
    """The part, made by calling it if it is a function."""
    return part() if callable(part) else part


def _maker(parameter: inspect.Parameter, makers: Makers) -> Callable[[], Any]:
    """What makes the part that a constructor asks for by its type."""
    for name in re.findall(r"\w+", str(parameter.annotation)):
        if name in makers:
            return makers[name]
    raise LookupError(f"give the part {parameter.name}: none is known for {parameter.annotation}")


def awake(part: Any, *, vectors: bool = False) -> Any:
    """Give random weights to what starts training from zero, and would have no effect.

    Args:
        part: a module, or any other part, which is left alone.
        vectors: whether biases and the like are woken, too.
    """
    if isinstance(part, nn.Module):
        for weight in part.parameters():
            if (vectors or weight.ndim > 1) and not weight.any():
                nn.init.normal_(weight, std=0.1)
    return part
