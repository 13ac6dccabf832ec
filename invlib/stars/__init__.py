"""A hard embedded model: a rectifier network that predicts the score of star fields."""

from .load import SCHEDULE, load, stars_denoiser
from .render import star_fields

__all__ = ["SCHEDULE", "load", "star_fields", "stars_denoiser"]
