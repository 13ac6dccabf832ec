"""Recipes of pipelines whose one network knows both text and pictures."""

from __future__ import annotations

from functools import partial
from typing import Any

from diffusers.pipelines.deprecated.unidiffuser import UniDiffuserModel, UniDiffuserTextDecoder
from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import (
    UNetFlatConditionModel,
)

from .calls import GUIDANCE, SIZE, SIZED, STEPS
from .parts import TOKENS, WIDTH, clip, clip_tokenizer, unet
from .unet_assembly import recipe
from .unet_parts import clip_processor, clip_vision, photograph


def transformer_unidiffuser() -> Any:
    """The transformer of UniDiffuser."""
    return UniDiffuserModel(
        text_dim=WIDTH,
        clip_img_dim=WIDTH,
        num_text_tokens=TOKENS,
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        norm_num_groups=4,
        activation_fn="gelu",
        ff_final_dropout=False,
    )


def text_decoder() -> Any:
    """What turns embeddings into text."""
    return UniDiffuserTextDecoder(
        prefix_length=TOKENS,
        prefix_inner_dim=WIDTH,
        prefix_hidden_dim=WIDTH,
        vocab_size=54,
        n_positions=96,
        n_embd=WIDTH,
        n_layer=1,
        n_head=2,
    )


def unet_flat() -> Any:
    """A UNet of text, in blocks like those of `unet`."""
    return UNetFlatConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlockFlat", "CrossAttnDownBlockFlat"),
        up_block_types=("CrossAttnUpBlockFlat", "UpBlockFlat"),
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=WIDTH,
    )


UNIDIFFUSER = {
    "unet": transformer_unidiffuser,
    "image_encoder": clip_vision,
    "clip_image_processor": clip_processor,
    "clip_tokenizer": clip_tokenizer,
    "text_decoder": text_decoder,
    "text_tokenizer": clip_tokenizer,
}

JOINT = [
    recipe(
        "UniDiffuserPipeline",
        {**GUIDANCE, **STEPS, **SIZE},
        UNIDIFFUSER,
        note="Text and picture at once: a state holds the latents and embeddings of both.",
    ),
    recipe(
        "UniDiffuserPipeline: text to picture",
        SIZED,
        UNIDIFFUSER,
        note="Its call takes the noise in two parts, as vae_latents and clip_latents.",
    ),
    recipe(
        "VersatileDiffusionTextToImagePipeline",
        SIZED,
        {
            "text_encoder": partial(clip, projection=True),
            "image_unet": unet,
            "text_unet": unet_flat,
        },
    ),
    recipe(
        "VersatileDiffusionImageVariationPipeline",
        {**GUIDANCE, **STEPS, **SIZE, "image": photograph()},
        {
            "image_encoder": clip_vision,
            "image_feature_extractor": clip_processor,
            "image_unet": unet,
        },
    ),
]
