"""Inverting the decoder of a latent diffusion model."""

from .box import Box, to_bytes
from .inversion import DecoderInversion, DecoderInverter
from .model import Autoencoder

__all__ = ["Autoencoder", "Box", "DecoderInversion", "DecoderInverter", "to_bytes"]
