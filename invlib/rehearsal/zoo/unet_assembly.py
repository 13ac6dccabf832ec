"""Recipes of pipelines on UNets: their parts are known by the names that they share."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from .assembly import awake, made
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


def filled(source: str, given: Mapping[str, Any]) -> Any:
    """A pipeline of the parts given, and of `PARTS` for the other names of its constructor.

    Args:
        source: a name in diffusers, or ``module:name`` for a class that it hides.
        given: parts by name; functions are called, other values passed on.
    """
    module, _, name = source.rpartition(":")
    cls = getattr(import_module(module or "diffusers"), name)
    parts = {**PARTS, **given}
    wanted = [name for name in inspect.signature(cls).parameters if name in parts]
    return cls(**{name: awake(made(parts[name]), vectors=True) for name in wanted})


def recipe(
    name: str,
    call: Mapping[str, Any],
    parts: Mapping[str, Any] | None = None,
    note: str = "",
    source: str = "",
) -> tuple[str, Recipe]:
    """A key and its recipe; the name is a class of diffusers, perhaps with ": a variant"."""
    source = source or name.split(":")[0]
    return name, Recipe(partial(filled, source, parts or {}), call, note)
