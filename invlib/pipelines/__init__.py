"""Diffusers pipelines: exact inversion of their calls, and their networks as denoisers."""

from .invert import invert_image, invert_latents
from .options import Options
from .reading import Reading, read
from .regenerate import regenerate
from .result import ImageInversion
from .unet import UNet, decode, encode_prompts, text_denoiser

__all__ = [
    "ImageInversion",
    "Options",
    "Reading",
    "UNet",
    "decode",
    "encode_prompts",
    "invert_image",
    "invert_latents",
    "read",
    "regenerate",
    "text_denoiser",
]
