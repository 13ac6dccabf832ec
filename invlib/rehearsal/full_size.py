"""Five published networks at their own sizes: what one evaluation of each is called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .architectures import ARCHITECTURES

Inputs = dict[str, Any]
TOKENS = 77  # of a CLIP prompt
LONG = 256  # more tokens of Stable Diffusion 3, of its T5 encoder
FLUX_TOKENS = 512


@dataclass(frozen=True)
class FullSize:
    """A network at the size that it was published for.

    Attributes:
        title: its name on the page.
        pixels: height and width of the picture.
        channels: of its latents, which are ``pixels / 8`` high and wide.
        rows: rows of the network in one evaluation: two with classifier-free guidance, one where
            guidance is an input of the network.
        inputs: the arguments of a call on some rows, on some device and of some dtype.
    """

    title: str
    pixels: int
    channels: int
    rows: int
    inputs: Callable[[int, str, torch.dtype], Inputs]

    @property
    def state(self) -> int:
        """Numbers in one state."""
        return self.channels * (self.pixels // 8) ** 2


def unet(arch: str) -> Callable[[int, str, torch.dtype], Inputs]:
    """Latents, a time and a prompt; for SDXL also a pooled prompt and the picture's size."""

    def inputs(rows: int, device: str, dtype: torch.dtype) -> Inputs:
        config = ARCHITECTURES[arch]
        edge, width = config["sample_size"], config["cross_attention_dim"]
        found: Inputs = {
            "sample": _noise(device, dtype, rows, 4, edge, edge),
            "timestep": torch.full((rows,), 500.0, device=device),
            "encoder_hidden_states": _noise(device, dtype, rows, TOKENS, width),
        }
        if "projection_class_embeddings_input_dim" in config:
            times = 6 * config["addition_time_embed_dim"]
            pooled = config["projection_class_embeddings_input_dim"] - times
            found["added_cond_kwargs"] = {
                "text_embeds": _noise(device, dtype, rows, pooled),
                "time_ids": _noise(device, dtype, rows, 6),
            }
        return found

    return inputs


def sd3(rows: int, device: str, dtype: torch.dtype) -> Inputs:
    """Latents, a time, a prompt of two encoders and a pooled one."""
    return {
        "hidden_states": _noise(device, dtype, rows, 16, 128, 128),
        "timestep": torch.full((rows,), 500.0, device=device),
        "encoder_hidden_states": _noise(device, dtype, rows, TOKENS + LONG, 4096),
        "pooled_projections": _noise(device, dtype, rows, 2048),
    }


def flux(rows: int, device: str, dtype: torch.dtype) -> Inputs:
    """Latents in patches of 2 x 2, a time, a prompt, a pooled one, places and guidance."""
    return {
        "hidden_states": _noise(device, dtype, rows, 64 * 64, 4 * 16),
        "timestep": torch.full((rows,), 0.5, device=device),
        "guidance": torch.full((rows,), 3.5, device=device),
        "encoder_hidden_states": _noise(device, dtype, rows, FLUX_TOKENS, 4096),
        "pooled_projections": _noise(device, dtype, rows, 768),
        "img_ids": torch.zeros(64 * 64, 3, device=device),
        "txt_ids": torch.zeros(FLUX_TOKENS, 3, device=device),
    }


def _noise(device: str, dtype: torch.dtype, *shape: int) -> Tensor:
    if device == "meta":
        return torch.empty(shape, device=device, dtype=dtype)
    generator = torch.Generator(device).manual_seed(0)
    return torch.randn(shape, generator=generator, device=device, dtype=dtype)


FULL_SIZE = {
    "sd15": FullSize("SD 1.5", 512, 4, 2, unet("sd15")),
    "sd21": FullSize("SD 2.1", 512, 4, 2, unet("sd21")),
    "sdxl": FullSize("SDXL", 1024, 4, 2, unet("sdxl")),
    "sd3": FullSize("SD 3 medium", 1024, 16, 2, sd3),
    "flux": FullSize("Flux.1-dev", 1024, 16, 1, flux),
}
