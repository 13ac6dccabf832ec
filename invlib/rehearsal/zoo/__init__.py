"""Every pipeline class of diffusers in small, with random weights: recipes to rehearse on."""

from .recipe import Recipe

__all__ = ["Recipe"]
