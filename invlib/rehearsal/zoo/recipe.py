"""A recipe: how a small pipeline of one class is built, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A small pipeline with random weights and a call of it, at guidance of its own above 1.

    Attributes:
        make: builds the pipeline; weights come from torch's global generator.
        call: arguments of the pipeline's call, by its own names, without ``latents``,
            ``generator`` and ``output_type``.
        note: what is special about this build, in one sentence; empty where nothing is.
    """

    make: Callable[[], Any]
    call: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
