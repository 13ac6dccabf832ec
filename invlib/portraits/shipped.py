"""Pictures that come with the package, for readers who have not got what draws them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from .render import Portrait

FOLDER = Path(__file__).with_name("pictures")


def shipped(portrait: Portrait, size: int) -> np.ndarray | None:
    """The picture of a portrait, ``uint8 [size, size, 3]``, or None if it does not come along."""
    file = _file(portrait, size)
    return np.array(Image.open(file)) if file.exists() else None


def ship(portrait: Portrait, pixels: np.ndarray) -> None:
    """Let a picture come along; the chapters show no other drawn ones."""
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(_file(portrait, len(pixels)), optimize=True)


def _file(portrait: Portrait, size: int) -> Path:
    text = json.dumps({**asdict(portrait), "size": size}, sort_keys=True)
    return FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.png"
