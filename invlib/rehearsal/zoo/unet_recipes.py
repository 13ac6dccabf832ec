"""Recipes of the pipelines on UNets and their like, and the classes that have none."""

from __future__ import annotations

from .recipe import Recipe
from .stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_XL

RECIPES: dict[str, Recipe] = dict([*STABLE_DIFFUSION, *STABLE_DIFFUSION_XL])
"""Every recipe, by the name of its class, with ": a variant" where there are several."""

NOT_BUILT: dict[str, str] = {}
"""Why there is no recipe for a class."""
