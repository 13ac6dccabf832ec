"""The networks and the autoencoder of Stable Diffusion pipelines as plain functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..denoisers import Guided, Prediction, guided


@dataclass(frozen=True)
class UNet:
    """A diffusers UNet as a plain function; states are float64, the network keeps its dtype.

    Attributes:
        module: a UNet2DModel or UNet2DConditionModel.
        prediction: what it was trained to predict.
    """

    module: Any
    prediction: Prediction

    @property
    def dtype(self) -> torch.dtype:
        """The network's own dtype."""
        return cast(torch.dtype, self.module.dtype)

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The network's prediction at states ``x [B, ...]``, times ``t [B]``, conditions."""
        x, t = x.to(self.dtype), t.to(torch.float32)
        if condition is None:
            return cast(Tensor, self.module(x, t).sample)
        return cast(Tensor, self.module(x, t, encoder_hidden_states=condition).sample)


def encode_prompts(pipe: Any, prompts: Sequence[str]) -> Tensor:
    """Embeddings of prompts by a pipeline's own tokenizer and text encoder, ``[B, L, C]``.

    Raises:
        ValueError: if a prompt is longer than the text encoder can take.
    """
    length = pipe.tokenizer.model_max_length
    longest = max(len(ids) for ids in pipe.tokenizer(list(prompts)).input_ids)
    if longest > length:
        raise ValueError(f"a prompt has {longest} tokens; the text encoder takes {length}")
    tokens = pipe.tokenizer(
        list(prompts), padding="max_length", max_length=length, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        encoded = pipe.text_encoder(tokens.to(pipe.text_encoder.device))
    return cast(Tensor, encoded.last_hidden_state)


def text_denoiser(pipe: Any, prompts: Sequence[str], guidance_scale: float) -> Guided:
    """The guided denoiser of a Stable Diffusion pipeline for the given prompts, one a row."""
    prediction = pipe.scheduler.config.get("prediction_type", "epsilon")
    condition, null = encode_prompts(pipe, prompts), encode_prompts(pipe, [""])
    network = UNet(pipe.unet, prediction)
    return guided(network, condition, null, guidance_scale, prediction=prediction)


def decode(pipe: Any, latents: Tensor) -> Tensor:
    """Decode latents to images in [0, 1], ``[B, 3, H, W]``, not rounded."""
    vae = pipe.vae
    with torch.no_grad():
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor
        return cast(Tensor, (vae.decode(scaled).sample / 2 + 0.5).clamp(0, 1))
