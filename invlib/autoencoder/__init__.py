"""Inverting the decoder of a latent diffusion model."""

from .active_set import active_set
from .box import ROUNDING, Box, to_bytes
from .gauss_newton import gauss_newton
from .gradient import encoder, gradient
from .gradient_free import gradient_free
from .inversion import DecoderInversion, DecoderInverter
from .joint import joint
from .limits import Limits, limits
from .model import Autoencoder, NoEncoder
from .quasi_newton import quasi_newton

DECODERS: dict[str, DecoderInverter] = {
    "encoder": encoder,
    "gradient": gradient,
    "gradient_free": gradient_free,
    "gauss_newton": gauss_newton,
    "quasi_newton": quasi_newton,
    "active_set": active_set,
}

__all__ = [
    "DECODERS",
    "ROUNDING",
    "Autoencoder",
    "Box",
    "DecoderInversion",
    "DecoderInverter",
    "Limits",
    "NoEncoder",
    "active_set",
    "encoder",
    "gauss_newton",
    "gradient",
    "gradient_free",
    "joint",
    "limits",
    "quasi_newton",
    "to_bytes",
]
