"""The pipelines that can be inverted."""

from __future__ import annotations

from typing import Any

from .family import Family
from .flow import StableDiffusion3
from .flux import Flux
from .pixels import Pixels
from .stable_diffusion import StableDiffusion, StableDiffusionXL
from .transformers import DiT, PixArt

FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": StableDiffusion(),
    "StableDiffusionXLPipeline": StableDiffusionXL(),
    "StableDiffusion3Pipeline": StableDiffusion3(),
    "FluxPipeline": Flux(),
    "PixArtAlphaPipeline": PixArt(),
    "DiTPipeline": DiT(),
    "DDPMPipeline": Pixels(),
    "DDIMPipeline": Pixels(),
}


def family_of(pipe: Any) -> Family:
    """The family of a pipeline.

    Raises:
        TypeError: if pipelines of this class are not supported.
    """
    name = type(pipe).__name__
    if name not in FAMILIES:
        raise TypeError(f"{name} is not supported; supported are {', '.join(FAMILIES)}")
    return FAMILIES[name]
