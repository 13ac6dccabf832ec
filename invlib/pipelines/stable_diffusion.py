"""Stable Diffusion 1, 2 and XL: a text-conditioned UNet on latents."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import Autoencoder
from .family import Family
from .network import join
from .settings import Settings


class StableDiffusion(Family):
    """StableDiffusionPipeline: embeddings of one text encoder."""

    def encode(self, pipe: Any, settings: Settings, guides: bool) -> dict[str, Any]:
        """Prompt embeddings; for guidance-distilled networks that of the scale, too."""
        positive, negative = pipe.encode_prompt(
            list(settings.prompt or ()),
            pipe._execution_device,
            1,
            guides,
            negative_prompt=_list(settings.negative_prompt),
        )
        return {
            "encoder_hidden_states": join(positive, negative),
            "timestep_cond": scale_embedding(pipe, settings),
        }


class StableDiffusionXL(Family):
    """StableDiffusionXLPipeline: two text encoders, a pooled embedding, and sizes."""

    def tokenizers(self, pipe: Any) -> list[tuple[Any, int]]:
        """Both tokenizers; a refiner has the second alone."""
        both = [t for t in (pipe.tokenizer, pipe.tokenizer_2) if t is not None]
        return [(t, t.model_max_length) for t in both]

    def encode(self, pipe: Any, settings: Settings, guides: bool) -> dict[str, Any]:
        """Prompt embeddings, pooled embeddings, and original, crop and target sizes."""
        positive, negative, pooled, negative_pooled = pipe.encode_prompt(
            list(settings.prompt or ()),
            device=pipe._execution_device,
            do_classifier_free_guidance=guides,
            negative_prompt=_list(settings.negative_prompt),
        )
        encoder, size = pipe.text_encoder_2, (settings.height, settings.width)
        ids = pipe._get_add_time_ids(
            size,
            (0, 0),
            size,
            dtype=positive.dtype,
            text_encoder_projection_dim=(
                pooled.shape[-1] if encoder is None else encoder.config.projection_dim
            ),
        )
        text = join(pooled, negative_pooled)
        return {
            "encoder_hidden_states": join(positive, negative),
            "timestep_cond": scale_embedding(pipe, settings),
            "added_cond_kwargs": {
                "text_embeds": text,
                "time_ids": ids.to(text.device).expand(len(text), -1),
            },
        }

    def set_timesteps(self, pipe: Any, settings: Settings) -> Callable[..., None]:
        """The loop counts its steps from the first."""
        return from_the_first

    def autoencoder(self, pipe: Any) -> Autoencoder:
        """The autoencoder; where the pipeline lifts it to float32 to decode, so is a copy here."""
        autoencoder = super().autoencoder(pipe)
        Autoencoder.of(pipe.vae)  # refuses latents that are normalised channel by channel
        if pipe.vae.dtype == torch.float16 and pipe.vae.config.force_upcast:
            vae = copy.deepcopy(pipe.vae).to(torch.float32)
            return Autoencoder(vae, autoencoder.scale)
        return autoencoder

    def notes(self, pipe: Any, settings: Settings) -> list[str]:
        """Says so if the pipeline adds a watermark to its pictures."""
        mark = getattr(pipe, "watermark", None)
        return ["the pipeline changes its pictures by a watermark"] if mark is not None else []


def from_the_first(scheduler: Any, steps: int) -> None:
    """Set the time steps, and let the scheduler count from the first instead of looking it up."""
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)


def scale_embedding(pipe: Any, settings: Settings) -> Tensor | None:
    """The embedded guidance scale of a distilled UNet, one row per image; None for the others."""
    width = pipe.unet.config.time_cond_proj_dim
    if width is None or settings.guidance_scale is None:
        return None
    excess = torch.tensor(settings.guidance_scale - 1).repeat(len(settings.prompt or ()))
    embedding: Tensor = pipe.get_guidance_scale_embedding(excess, embedding_dim=width)
    return embedding.to(device=pipe._execution_device, dtype=pipe.unet.dtype)


def _list(prompts: tuple[str, ...] | None) -> list[str] | None:
    return None if prompts is None else list(prompts)
