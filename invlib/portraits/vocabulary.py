"""The prompts of the portraits model, attribute by attribute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..identification import Phrases
from .render import (
    GARMENT_COLORS,
    GARMENTS,
    HAIR_COLORS,
    HAIR_STYLES,
    HILLS,
    MOODS,
    ORBS,
    SKIES,
    Portrait,
    caption,
)

ATTRIBUTES: dict[str, Iterable[Any]] = {  # what fills most of the picture first
    "sky": SKIES,
    "hills": HILLS,
    "hair_color": HAIR_COLORS,
    "garment_color": GARMENT_COLORS,
    "hair_style": HAIR_STYLES,
    "garment": GARMENTS,
    "mood": MOODS,
    "beard": (False, True),
    "orb": (None, *filter(None, ORBS)),
}


def vocabulary() -> Phrases:
    """All prompts that the portraits model was taught, for :func:`invlib.identify`."""
    return Phrases({name: tuple(values) for name, values in ATTRIBUTES.items()}, _prompt)


def _prompt(values: Mapping[str, Any]) -> str:
    """The caption of a portrait of these attributes; what no caption tells does not matter."""
    unsaid: dict[str, Any] = {"skin": "", "eyes": "", "terrain": 0, "seed": 0}
    return caption(Portrait(**{**values, **unsaid}))
