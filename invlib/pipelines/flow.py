"""Stable Diffusion 3, a transformer for flow matching, and what it has in common with Flux."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..autoencoder import Autoencoder
from .family import Family
from .network import Conditioned, join
from .settings import Settings


class StableDiffusion3(Family):
    """StableDiffusion3Pipeline: three text encoders, real guidance."""

    network = "transformer"
    remedy = "FlowMatchEulerDiscreteScheduler(shift=3.0)"

    def multiple(self, pipe: Any) -> int:
        """The pictures are cut into patches."""
        return self.factor(pipe) * int(pipe.patch_size)

    def tokenizers(self, pipe: Any) -> list[tuple[Any, int]]:
        """Two of CLIP, and that of T5, which may be missing."""
        length = pipe.tokenizer_max_length
        found = [(pipe.tokenizer, length), (pipe.tokenizer_2, length)]
        return found if pipe.text_encoder_3 is None else [*found, (pipe.tokenizer_3, 256)]

    def encode(self, pipe: Any, settings: Settings, guides: bool) -> dict[str, Any]:
        """Prompt embeddings and pooled embeddings."""
        negative_prompt = settings.negative_prompt
        positive, negative, pooled, negative_pooled = pipe.encode_prompt(
            list(settings.prompt or ()),
            None,
            None,
            device=pipe._execution_device,
            do_classifier_free_guidance=guides,
            negative_prompt=None if negative_prompt is None else list(negative_prompt),
        )
        return {
            "encoder_hidden_states": join(positive, negative),
            "pooled_projections": join(pooled, negative_pooled),
        }

    def conditioned(self, pipe: Any, settings: Settings, guides: bool) -> Conditioned:
        """The network; where it normalises queries it computes in float32 at the best."""
        network = super().conditioned(pipe, settings, guides)
        normalises = pipe.transformer.config.qk_norm is not None
        return replace(network, precision=single(pipe.transformer) if normalises else None)

    def set_timesteps(self, pipe: Any, settings: Settings) -> Callable[..., None]:
        """The pipeline's shift of the times, by the size of the picture."""
        from diffusers.pipelines.flux.pipeline_flux import retrieve_timesteps

        options = {}
        if pipe.scheduler.config.get("use_dynamic_shifting", None):
            options["mu"] = shift(pipe.scheduler, patches(settings, self.multiple(pipe)), 1.16)
        return lambda scheduler, steps: retrieve_timesteps(scheduler, steps, "cpu", **options)

    def autoencoder(self, pipe: Any) -> Autoencoder:
        """The autoencoder, with its shift."""
        return replace(super().autoencoder(pipe), shift=pipe.vae.config.shift_factor)


def single(module: Any) -> torch.dtype:
    """The network's dtype, but at the best float32."""
    dtype: torch.dtype = module.dtype
    return torch.float32 if dtype == torch.float64 else dtype


def patches(settings: Settings, side: int) -> int:
    """Number of patches of the picture."""
    return (settings.height // side) * (settings.width // side)


def shift(scheduler: Any, count: int, largest: float) -> float:
    """The shift parameter mu of a picture of so many patches, by the scheduler's line."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    config = scheduler.config
    mu: float = calculate_shift(
        count,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", largest),
    )
    return mu
