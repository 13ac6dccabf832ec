"""Portraits: people over landscapes, drawn from named attributes.

The same :class:`Portrait` always gives the same pixels, and every attribute has its own
jitter, so the counterfactual of an edit is ``dataclasses.replace(portrait, ...)`` and the
exact edit mask is where the two pictures differ.

Art: "ToonHead" by Johan Melin, CC BY 4.0, and "Landscape", CC0 1.0, remixed via DiceBear.
"""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

import numpy as np
from PIL import Image

from .shipped import shipped

SKIES = {
    "blue sky": "#9bd4f5",
    "pink sky": "#f7b7c9",
    "yellow sky": "#fbe08d",
    "purple sky": "#8f7fd0",
    "night sky": "#1d2b53",
}
HILLS = {
    "green hills": ("#9ccf7a", "#6fae5b", "#4a8c4a", "#2f6b3c"),
    "blue mountains": ("#a9c3e6", "#7f9fd0", "#5a7cb4", "#3e5a8f"),
    "sand dunes": ("#f2d59b", "#e5bd74", "#d19f52", "#b88140"),
    "snow hills": ("#f4f8fc", "#dfe9f2", "#c9d8e6", "#b3c6d8"),
    "red canyon": ("#e3a17d", "#cc7a5a", "#a9573f", "#823e30"),
}
ORBS = {"yellow sun": "#ffcc33", "red sun": "#f2553d", "white moon": "#f5f5f5", None: None}
HAIR_COLORS = {
    "black": "#2c1b18",
    "blond": "#e8c46a",
    "brown": "#724133",
    "red": "#c0442c",
    "white": "#eeeeee",
    "pink": "#f29bc0",
    "blue": "#3d6fd6",
}
HAIR_STYLES = {
    "spiky hair": ("spiky", None),
    "short hair": ("sideComed", None),
    "undercut": ("undercut", None),
    "bun": ("bun", None),
    "long straight hair": ("sideComed", "longStraight"),
    "long wavy hair": ("sideComed", "longWavy"),
}
SKINS = {"light": "#f1c3a5", "tan": "#c68e7a", "dark": "#5c3829"}
GARMENTS = {
    "t-shirt": "tShirt",
    "turtleneck": "turtleNeck",
    "jacket": "openJacket",
    "dress": "dress",
    "shirt": "shirt",
}
GARMENT_COLORS = {
    "red": "#d03a3a",
    "blue": "#2f6fd0",
    "green": "#2f9e57",
    "yellow": "#f0c232",
    "purple": "#8a4fd0",
    "black": "#2a2a2a",
    "white": "#f2f2f2",
}
MOODS = {  # mood -> (mouth, eyebrows)
    "smiling": ("smile", "happy"),
    "laughing": ("laugh", "raised"),
    "sad": ("sad", "sad"),
    "angry": ("angry", "angry"),
    "surprised": ("agape", "raised"),
}
EYES = ("wide", "happy")
TERRAINS = 12
BEARDLESS = ("bun", "long straight hair", "long wavy hair")
# Never seen together in training: they test composition.
HELD_OUT_PAIRS = (("pink", "green"), ("blue", "yellow"), ("white", "purple"))


@dataclass(frozen=True)
class Portrait:
    """The attributes of one picture; ``seed`` fixes the small jitter of every part."""

    mood: str
    skin: str
    hair_color: str
    hair_style: str
    beard: bool
    garment_color: str
    garment: str
    eyes: str
    hills: str
    sky: str
    orb: str | None
    terrain: int
    seed: int


def random_portrait(rng: random.Random, *, held_out: bool = False) -> Portrait:
    """Draw attributes at random; ``held_out`` allows only the pairs kept from training."""
    if held_out:
        hair_color, garment_color = rng.choice(HELD_OUT_PAIRS)
    else:
        while True:
            hair_color, garment_color = rng.choice([*HAIR_COLORS]), rng.choice([*GARMENT_COLORS])
            if (hair_color, garment_color) not in HELD_OUT_PAIRS:
                break
    hair_style = rng.choice([*HAIR_STYLES])
    return Portrait(
        mood=rng.choice([*MOODS]),
        skin=rng.choice([*SKINS]),
        hair_color=hair_color,
        hair_style=hair_style,
        beard=hair_style not in BEARDLESS and rng.random() < 0.3,
        garment_color=garment_color,
        garment=rng.choice([*GARMENTS]),
        eyes=rng.choice(EYES),
        hills=rng.choice([*HILLS]),
        sky=rng.choice([*SKIES]),
        orb=rng.choice([*ORBS]),
        terrain=rng.randrange(TERRAINS),
        seed=rng.randrange(2**31),
    )


def caption(portrait: Portrait) -> str:
    """The prompt that describes a portrait, most important clause first."""
    beard = " and a beard" if portrait.beard else ""
    orb = f", {portrait.orb}" if portrait.orb else ""
    article = "an" if portrait.mood[0] in "aeiou" else "a"
    hair = f"{portrait.hair_color} {portrait.hair_style}{beard}"
    return (
        f"{article} {portrait.mood} person with {hair}, "
        f"{portrait.garment_color} {portrait.garment}, {portrait.hills}, {portrait.sky}{orb}"
    )


def render(portrait: Portrait, size: int = 64) -> np.ndarray:
    """The picture of a portrait, ``uint8 [size, size, 3]``: it came along, or it is drawn.

    Raises:
        ModuleNotFoundError: if it has to be drawn, and what draws it is not installed.
    """
    pixels = shipped(portrait, size)
    return drawn(portrait, size) if pixels is None else pixels


def drawn(portrait: Portrait, size: int = 64) -> np.ndarray:
    """Draw a portrait as ``uint8 [size, size, 3]`` (drawn at twice the size, then Lanczos)."""
    draw = 2 * size
    picture = _landscape(portrait.terrain, portrait.sky, portrait.hills, portrait.orb, draw).copy()
    shift = _jitter(portrait, "position", 3, 0.03)
    person = _person(portrait, draw)
    picture.alpha_composite(_moved(person, shift[0], shift[1], 1 + shift[2]))
    small = picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, dtype=np.float32)
    gain = 1 + np.array(_jitter(portrait, "light", 3, 0.05), dtype=np.float32)
    return np.clip(pixels * gain + 0.5, 0, 255).astype(np.uint8)


def difference_mask(first: Portrait, second: Portrait, size: int = 64) -> np.ndarray:
    """Where two portraits differ by more than 2/255, as ``bool [size, size]``."""
    a, b = render(first, size).astype(int), render(second, size).astype(int)
    return cast(np.ndarray, (np.abs(a - b) > 2).any(axis=-1))


def _jitter(portrait: Portrait, part: str, count: int, spread: float) -> list[float]:
    rng = random.Random(f"{portrait.seed}-{part}")
    return [rng.uniform(-spread, spread) for _ in range(count)]


def _tinted(color: str, portrait: Portrait, part: str, spread: float = 0.06) -> str:
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    moved = [
        round(255 * v + c) for c, v in zip(rgb, _jitter(portrait, part, 3, spread), strict=True)
    ]
    return "#" + "".join(f"{min(255, max(0, c)):02x}" for c in moved)


def _moved(picture: Image.Image, right: float, down: float, zoom: float) -> Image.Image:
    size, inverse = picture.width, 1 / zoom
    keep_x = size / 2 * (1 - inverse) - right * size
    keep_y = size * (1 - inverse) - abs(down) * size  # downwards only: no gap at the lower edge
    data = (inverse, 0, keep_x, 0, inverse, keep_y)
    return picture.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)


def _image(svg: str, size: int) -> Image.Image:
    import resvg_py

    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
    return Image.open(io.BytesIO(png)).convert("RGBA")


@lru_cache(maxsize=4)
def _style(name: str) -> Any:
    from dicebear import Style

    return Style(json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")))


def _avatar(style: str, options: dict, size: int) -> Image.Image:
    try:
        from dicebear import Avatar
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "only the portraits of the book come as pictures; to draw others install invlib "
            "with its extra `train`"
        ) from error

    return _image(Avatar(_style(style), {"size": size, **options}).to_string(), size)


@lru_cache(maxsize=2000)
def _landscape(terrain: int, sky: str, hills: str, orb: str | None, size: int) -> Image.Image:
    colors = {f"hill{i + 1}Color": [color] for i, color in enumerate(HILLS[hills])}
    options = {
        "seed": str(terrain / TERRAINS),
        "backgroundColor": [SKIES[sky]],
        "animationVariant": ["none"],
        "orbColor": [ORBS[orb] or "#ffffff"],
        "orbProbability": 100 if orb else 0,
        **colors,
    }
    return _avatar("landscape", options, size)


def _person(portrait: Portrait, size: int) -> Image.Image:
    front, rear = HAIR_STYLES[portrait.hair_style]
    mouth, eyebrows = MOODS[portrait.mood]
    options = {
        "seed": "x",
        "hairVariant": [front],
        "hairProbability": 100,
        "rearHairProbability": 100 if rear else 0,
        "hairColor": [_tinted(HAIR_COLORS[portrait.hair_color], portrait, "hair")],
        "skinColor": [_tinted(SKINS[portrait.skin], portrait, "skin")],
        "clothesVariant": [GARMENTS[portrait.garment]],
        "clothesColor": [_tinted(GARMENT_COLORS[portrait.garment_color], portrait, "garment")],
        "mouthVariant": [mouth],
        "eyesVariant": [portrait.eyes],
        "eyebrowsVariant": [eyebrows],
        "beardProbability": 100 if portrait.beard else 0,
        "beardVariant": ["fullBeard"],
    }
    if rear:
        options["rearHairVariant"] = [rear]
    return _avatar("toon-head", options, size)
