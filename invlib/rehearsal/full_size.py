"""Six published networks at their own sizes: what one evaluation of each is called with."""

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
FLUX_TOKENS = WAN_TOKENS = 512


@dataclass(frozen=True)
class FullSize:
    """A network at the size that it was published for.

    Attributes:
        title: its name on the page.
        pixels: height of the picture, and its width unless ``wide`` says another.
        channels: of its latents, which are ``pixels / 8`` high.
        rows: rows of the network in one evaluation: two with classifier-free guidance, one where
            guidance is an input of the network.
        inputs: the arguments of a call on some rows, on some device and of some dtype; with latents
            of another height (and width, if they are square) by the keyword ``edge``.
        at_once: rows in one call of the network, if its pipeline makes a call for each.
        wide: width of the picture, if it is not square.
        frames: frames of the latents of a video.
    """

    title: str
    pixels: int
    channels: int
    rows: int
    inputs: Callable[..., Inputs]
    at_once: int | None = None
    wide: int | None = None
    frames: int = 1

    @property
    def state(self) -> int:
        """Numbers in one state."""
        return self.channels * self.frames * (self.pixels // 8) * ((self.wide or self.pixels) // 8)


def unet(arch: str) -> Callable[[int, str, torch.dtype], Inputs]:
    """Latents, a time and a prompt; for SDXL also a pooled prompt and the picture's size."""

    def inputs(rows: int, device: str, dtype: torch.dtype, *, edge: int | None = None) -> Inputs:
        config = ARCHITECTURES[arch]
        edge, width = edge or config["sample_size"], config["cross_attention_dim"]
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


def sd3(rows: int, device: str, dtype: torch.dtype, *, edge: int = 128) -> Inputs:
    """Latents, a time, a prompt of two encoders and a pooled one."""
    return {
        "hidden_states": _noise(device, dtype, rows, 16, edge, edge),
        "timestep": torch.full((rows,), 500.0, device=device),
        "encoder_hidden_states": _noise(device, dtype, rows, TOKENS + LONG, 4096),
        "pooled_projections": _noise(device, dtype, rows, 2048),
    }


def flux(rows: int, device: str, dtype: torch.dtype, *, edge: int = 128) -> Inputs:
    """Latents in patches of 2 x 2, a time, a prompt, a pooled one, places and guidance."""
    patches = (edge // 2) ** 2
    return {
        "hidden_states": _noise(device, dtype, rows, patches, 4 * 16),
        "timestep": torch.full((rows,), 0.5, device=device),
        "guidance": torch.full((rows,), 3.5, device=device),
        "encoder_hidden_states": _noise(device, dtype, rows, FLUX_TOKENS, 4096),
        "pooled_projections": _noise(device, dtype, rows, 768),
        "img_ids": torch.zeros(patches, 3, device=device),
        "txt_ids": torch.zeros(FLUX_TOKENS, 3, device=device),
    }


def wan(rows: int, device: str, dtype: torch.dtype, *, edge: int | None = None) -> Inputs:
    """Latents of 81 frames of 480 x 832 pixels, a time and a prompt; ``edge``: of one frame."""
    frames, high, across = (1, edge, edge) if edge else (21, 60, 104)
    return {
        "hidden_states": _noise(device, dtype, rows, 16, frames, high, across),
        "timestep": torch.full((rows,), 500, device=device),
        "encoder_hidden_states": _noise(device, dtype, rows, WAN_TOKENS, 4096),
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
    "wan": FullSize("Wan 2.1, 1.3B", 480, 16, 2, wan, 1, 832, 21),
}
