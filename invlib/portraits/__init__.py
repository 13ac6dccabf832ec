"""The embedded data set and models: portraits over landscapes, drawn from named attributes."""

from ..extras import diffusers as _needed  # noqa: F401 - or an error that names the extra
from .dataset import held_out
from .load import MODELS, load, portraits_denoiser
from .prompts import words
from .render import Portrait, caption, difference_mask, random_portrait, render

__all__ = [
    "MODELS",
    "Portrait",
    "caption",
    "difference_mask",
    "held_out",
    "load",
    "portraits_denoiser",
    "random_portrait",
    "render",
    "words",
]
