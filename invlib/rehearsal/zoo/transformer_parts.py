"""Pipelines filled with small parts after their own constructors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import numpy as np
from PIL import Image

from .parts import clip, clip_tokenizer, dpm, t5, t5_tokenizer, vae
from .transformer_autoencoders import (
    autoencoder_dc,
    autoencoder_flux2,
    autoencoder_hunyuan,
    autoencoder_qwen,
    autoencoder_qwen21,
    autoencoder_refiner,
    autoencoder_wan,
)
from .transformer_encoders import (
    language,
    mistral3,
    qwen3,
    qwen25,
    siglip,
    siglip_processor,
    umt5,
    vision_processor,
    word_tokenizer,
)
from .transformer_networks import NETWORKS, network


def picture(side: int = 16) -> Image.Image:
    """A picture with a gradient of its own in each colour."""
    y, x = np.mgrid[:side, :side] / (side - 1)
    return Image.fromarray((255 * np.stack([x, y, 1 - x * y], -1)).astype("uint8"))


def mask(side: int = 16) -> Image.Image:
    """A mask, white on the right."""
    return Image.fromarray(np.repeat([[0, 255]], side // 2, 1).repeat(side, 0).astype("uint8"))


def _known(*models: str) -> dict[str, Callable[[], Any]]:
    """Makers of language models that need nothing but their class."""
    return {model: partial(language, model) for model in models}


MAKERS: dict[str, Callable[[], Any]] = {
    **{name: partial(network, name) for name in NETWORKS},
    **_known("BertModel", "GlmModel", "LlamaForCausalLM", "SmolLM3ForCausalLM"),
    **_known("Qwen3ForCausalLM", "Qwen3Model"),
    "AutoProcessor": word_tokenizer,
    "AutoTokenizer": word_tokenizer,
    "AutoencoderDC": autoencoder_dc,
    "AutoencoderKL": partial(vae, shift=0.1),
    "AutoencoderKLFlux2": autoencoder_flux2,
    "AutoencoderKLHunyuanImage": autoencoder_hunyuan,
    "AutoencoderKLHunyuanImageRefiner": autoencoder_refiner,
    "AutoencoderKLQwenImage": autoencoder_qwen,
    "AutoencoderKLQwenImage21": autoencoder_qwen21,
    "AutoencoderKLWan": autoencoder_wan,
    "BertTokenizer": word_tokenizer,
    "ByT5Tokenizer": t5_tokenizer,
    "CLIPTextModel": clip,
    "CLIPTextModelWithProjection": partial(clip, projection=True),
    "CLIPTokenizer": clip_tokenizer,
    "DDPMScheduler": dpm,
    "DPMSolverMultistepScheduler": dpm,
    "FlowMatchEulerDiscreteScheduler": diffusers.FlowMatchEulerDiscreteScheduler,
    "Gemma2PreTrainedModel": partial(language, "Gemma2Model"),
    "GemmaPreTrainedModel": partial(language, "GemmaModel"),
    "GemmaTokenizer": word_tokenizer,
    "KarrasDiffusionSchedulers": dpm,
    "Mistral3ForConditionalGeneration": mistral3,
    "Mistral3Model": partial(mistral3, "Mistral3Model"),
    "PreTrainedModel": partial(language, "Qwen3Model"),
    "Qwen2Tokenizer": word_tokenizer,
    "Qwen2VLProcessor": vision_processor,
    "Qwen2_5_VLForConditionalGeneration": qwen25,
    "Qwen3VLForConditionalGeneration": qwen3,
    "Qwen3VLModel": partial(qwen3, "Qwen3VLModel"),
    "Qwen3VLProcessor": vision_processor,
    "Siglip2ImageProcessor": siglip_processor,
    "Siglip2ImageProcessorPil": siglip_processor,
    "Siglip2VisionModel": siglip,
    "T5EncoderModel": t5,
    "T5Tokenizer": t5_tokenizer,
    "TokenizersBackend": word_tokenizer,
    "UMT5EncoderModel": umt5,
}
