"""Flux: a guidance-distilled transformer for flow matching, on packed latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..autoencoder import Autoencoder
from .family import Family, Prompts, Size
from .flow import StableDiffusion3, patches, shift, single
from .network import Conditioned
from .settings import Settings


class Flux(Family):
    """FluxPipeline: packed latents, T5 and pooled CLIP embeddings, an embedded guidance scale."""

    network = "transformer"
    lowest_scale = 0.0
    remedy = StableDiffusion3.remedy

    def multiple(self, pipe: Any) -> int:
        """Latents are packed two by two."""
        return 2 * self.factor(pipe)

    def pack(self, pipe: Any, latents: Tensor) -> Tensor:
        """Latents ``[B, c, h, w]`` as ``[B, hw/4, 4c]``; packed ones stay.

        Raises:
            ValueError: if the shape is another.
        """
        wanted = pipe.transformer.config.in_channels
        if latents.ndim == 4 and latents.shape[1] == wanted // 4:
            if latents.shape[2] % 2 or latents.shape[3] % 2:
                self.check_size(pipe, *[self.factor(pipe) * n for n in latents.shape[2:]])
            return pipe._pack_latents(latents, *latents.shape)
        if latents.ndim != 3 or latents.shape[2] != wanted:
            raise ValueError(
                f"latents have shape {tuple(latents.shape)}, but FluxPipeline runs on packed ones "
                f"[B, hw/4, {wanted}]; give what it returns for output_type='latent'"
            )
        return latents

    def size(self, pipe: Any, latents: Tensor, height: int | None, width: int | None) -> Size:
        """Height and width; those of packed latents as they are given, else of a square.

        Raises:
            ValueError: if the number of packed latents does not fit.
        """
        if latents.ndim == 4:
            return super().size(pipe, latents, height, width)
        patch, count = self.multiple(pipe), latents.shape[1]
        if height is None or width is None:
            height = width = patch * round(count**0.5)
        if height % patch or width % patch or (height // patch) * (width // patch) != count:
            raise ValueError(
                f"{count} packed latents make no picture of {height} x {width}; give the height "
                "and width of the picture"
            )
        return height, width

    def prompts(self, pipe: Any, prompt: Any, negative: Any, images: int) -> Prompts:
        """Prompts; the guidance is distilled.

        Raises:
            TypeError: if they are no texts.
            ValueError: if their number does not fit, or there is a negative prompt.
        """
        if negative is not None:
            raise ValueError(
                "FluxPipeline ignores negative prompts at its default true_cfg_scale=1, and other "
                "values are not supported: leave negative_prompt out"
            )
        return super().prompts(pipe, prompt, None, images)

    def tokenizers(self, pipe: Any) -> list[tuple[Any, int]]:
        """Those of CLIP and T5."""
        return [(pipe.tokenizer, pipe.tokenizer_max_length), (pipe.tokenizer_2, 512)]

    def guides(self, pipe: Any, settings: Settings) -> bool:
        """No: the scale is an argument of the network."""
        return False

    def conditioned(self, pipe: Any, settings: Settings, guides: bool) -> Conditioned:
        """The network, its times in thousandths and in its own dtype, as the pipeline gives them.

        Its rotary embedding computes in float32 at the best.
        """
        module = pipe.transformer
        network = super().conditioned(pipe, settings, guides)
        text, side = network.rows["encoder_hidden_states"], self.multiple(pipe)
        grid = settings.height // side, settings.width // side
        return replace(
            network,
            shared={
                "txt_ids": text.new_zeros(text.shape[1], 3),
                "img_ids": pipe._prepare_latent_image_ids(0, *grid, text.device, text.dtype),
            },
            time=lambda t: t.to(module.dtype) / 1000,
            precision=single(module),
        )

    def encode(self, pipe: Any, settings: Settings, guides: bool) -> dict[str, Any]:
        """Prompt embeddings, pooled embeddings, and the guidance scale if the network takes it."""
        device = pipe._execution_device
        embeddings, pooled, _ = pipe.encode_prompt(list(settings.prompt or ()), device=device)
        guidance = None
        if pipe.transformer.config.guidance_embeds:
            guidance = torch.full((len(pooled),), settings.guidance_scale or 0.0, device=device)
        return {
            "encoder_hidden_states": embeddings,
            "pooled_projections": pooled,
            "guidance": guidance,
        }

    def set_timesteps(self, pipe: Any, settings: Settings) -> Callable[..., None]:
        """The pipeline's own noise levels, shifted by the size of the picture."""
        from diffusers.pipelines.flux.pipeline_flux import retrieve_timesteps

        steps = settings.num_inference_steps
        own = pipe.scheduler.config.get("use_flow_sigmas", False)
        sigmas = None if own else np.linspace(1.0, 1 / steps, steps)
        mu = shift(pipe.scheduler, patches(settings, self.multiple(pipe)), 1.15)

        def start(scheduler: Any, steps: int) -> None:
            retrieve_timesteps(scheduler, steps, "cpu", sigmas=sigmas, mu=mu)
            scheduler.set_begin_index(0)

        return start

    def autoencoder(self, pipe: Any) -> Autoencoder:
        """The autoencoder, with its shift."""
        return replace(super().autoencoder(pipe), shift=pipe.vae.config.shift_factor)
