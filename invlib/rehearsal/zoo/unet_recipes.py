"""Recipes of the pipelines on UNets and their like, and the classes that have none."""

from __future__ import annotations

from .cascades import CASCADES
from .kolors import KOLORS_FAMILY
from .motions import MOTIONS
from .recipe import Recipe
from .sounds import SOUNDS
from .stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from .stable_diffusion_kin import STABLE_DIFFUSION_KIN
from .unconditional import UNCONDITIONAL

RECIPES: dict[str, Recipe] = dict(
    [
        *STABLE_DIFFUSION,
        *STABLE_DIFFUSION_XL,
        *STABLE_DIFFUSION_KIN,
        *CASCADES,
        *UNCONDITIONAL,
        *KOLORS_FAMILY,
        *SOUNDS,
        *MOTIONS,
    ]
)
"""Every recipe, by the name of its class, with ": a variant" where there are several."""

NOT_BUILT: dict[str, str] = {}
"""Why there is no recipe for a class."""
