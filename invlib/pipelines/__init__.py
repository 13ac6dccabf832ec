"""Diffusers pipelines, seen by the inverters as denoisers."""

from .unet import UNet, decode, encode_prompts, text_denoiser

__all__ = ["UNet", "decode", "encode_prompts", "text_denoiser"]
