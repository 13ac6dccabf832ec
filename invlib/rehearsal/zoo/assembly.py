"""Filling the constructor of a pipeline by the names of its parts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from .parts import clip, clip_tokenizer, dpm, unet, vae
from .recipe import Recipe

PARTS: Mapping[str, Any] = {
    "vae": vae,
    "text_encoder": clip,
    "text_encoder_2": lambda: clip(projection=True),
    "tokenizer": clip_tokenizer,
    "tokenizer_2": clip_tokenizer,
    "unet": unet,
    "scheduler": dpm,
    "safety_checker": None,
    "feature_extractor": None,
    "image_encoder": None,
    "watermarker": None,
    "requires_safety_checker": False,
    "add_watermarker": False,
}
"""A part for every name that most constructors share."""


def awake(module: Any) -> Any:
    """Give random weights to what starts training from zero, and would have no effect."""
    if isinstance(module, nn.Module):
        for parameter in module.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return module


def assemble(source: str, given: Mapping[str, Any]) -> Any:
    """A pipeline of the class, from the parts given and `PARTS` for the other names.

    Args:
        source: a name in diffusers, or ``module:name`` for a class that it hides.
        given: parts by name; functions are called, other values passed on.

    Raises:
        KeyError: when a part without default is in neither.
    """
    module, _, name = source.rpartition(":")
    cls = getattr(import_module(module or "diffusers"), name)
    arguments = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in given or name in PARTS:
            part = given[name] if name in given else PARTS[name]
            arguments[name] = awake(part()) if callable(part) else part
        elif parameter.default is inspect.Parameter.empty:
            message = f"name a part for {name!r} of {cls.__name__} in its recipe"
            raise KeyError(message)
    return cls(**arguments)


def recipe(
    name: str,
    call: Mapping[str, Any],
    parts: Mapping[str, Any] | None = None,
    note: str = "",
    source: str = "",
) -> tuple[str, Recipe]:
    """A key and its recipe; the name is a class of diffusers, perhaps with ": a variant"."""
    source = source or name.split(":")[0]
    return name, Recipe(partial(assemble, source, parts or {}), call, note)
