"""Every pipeline class of diffusers in small, with random weights: recipes to rehearse on."""

from .recipe import Recipe

__all__ = ["Recipe", "catalogue"]


def catalogue() -> tuple[dict[str, Recipe], dict[str, str]]:
    """All recipes by class (and variant), and why there is none of the other classes."""
    from . import transformer_recipes, unet_recipes, video_recipes  # they import much of diffusers

    modules = (unet_recipes, transformer_recipes, video_recipes)
    recipes = {name: recipe for module in modules for name, recipe in module.RECIPES.items()}
    reasons = {name: why for module in modules for name, why in module.NOT_BUILT.items()}
    return recipes, {name: why for name, why in reasons.items() if name not in recipes}
