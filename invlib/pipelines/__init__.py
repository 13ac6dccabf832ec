"""Diffusers pipelines: exact inversion of their pictures, and their networks as denoisers."""

from .families import FAMILIES
from .invert import ImageInversion, invert_image, invert_latents
from .regenerate import regenerate
from .settings import Settings
from .unet import UNet, decode, encode_prompts, text_denoiser

__all__ = [
    "FAMILIES",
    "ImageInversion",
    "Settings",
    "UNet",
    "decode",
    "encode_prompts",
    "invert_image",
    "invert_latents",
    "regenerate",
    "text_denoiser",
]
