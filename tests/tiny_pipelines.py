"""Small pipelines of diffusers with random weights, one of every class that can be inverted."""

from __future__ import annotations

from typing import Any

import diffusers

from invlib.rehearsal.zoo.parts import (
    SD,
    TOKENS,
    WIDTH,
    build,
    clip,
    clip_tokenizer,
    dpm,
    t5,
    t5_tokenizer,
    unet,
    vae,
)

__all__ = [
    "SD",
    "TOKENS",
    "WIDTH",
    "build",
    "clip",
    "clip_tokenizer",
    "dpm",
    "t5",
    "t5_tokenizer",
    "unet",
    "vae",
]


THIN = {  # one block down, one up, and nothing between: half of a call is the network's
    "block_out_channels": (8,),
    "mid_block_type": None,
    "up_block_types": ("UpBlock2D",),
}


def thin_unet(**options: Any) -> Any:
    """A conditional UNet with one attention block in all."""
    return unet(**{**THIN, "down_block_types": ("CrossAttnDownBlock2D",), **options})


def stable_diffusion(scheduler: Any = None, **options: Any) -> Any:
    """A StableDiffusionPipeline."""
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=thin_unet(**options),
        scheduler=scheduler or dpm(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(scheduler: Any = None, **options: Any) -> Any:
    """A StableDiffusionXLPipeline."""
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip(),
        text_encoder_2=clip(projection=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=thin_unet(
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=WIDTH + 6 * 4,
        ),
        scheduler=scheduler or dpm(),
        add_watermarker=False,
        **options,
    )


def pixels(scheduler: Any = None, *, cls: str = "DDPMPipeline", channels: int = 3) -> Any:
    """A DDPMPipeline or DDIMPipeline."""
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        down_block_types=("AttnDownBlock2D",),
        attention_head_dim=4,
        norm_num_groups=4,
        **THIN,
    )
    scheduler = scheduler or diffusers.DDIMScheduler(**SD, clip_sample=False)
    return getattr(diffusers, cls)(unet=network, scheduler=scheduler)


def dit(scheduler: Any = None) -> Any:
    """A DiTPipeline."""
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        norm_num_groups=4,
    )
    scheduler = scheduler or diffusers.DDIMScheduler(**SD, clip_sample=False)
    labels = {0: "tench, Tinca tinca", 1: "goldfish"}
    return diffusers.DiTPipeline(
        transformer=network, vae=vae(), scheduler=scheduler, id2label=labels
    )


def pixart(scheduler: Any = None, *, sample_size: int = 8, halvings: int = 1) -> Any:
    """A PixArtAlphaPipeline."""
    network = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8 if sample_size < 128 else 12,
        cross_attention_dim=16 if sample_size < 128 else 24,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=sample_size,
        norm_num_groups=4,
        caption_channels=WIDTH,
        interpolation_scale=1,
    )
    return diffusers.PixArtAlphaPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=vae(halvings=halvings),
        transformer=network,
        scheduler=scheduler or dpm(),
    )


def stable_diffusion_3(
    scheduler: Any = None, *, qk_norm: str | None = None, third: bool = False
) -> Any:
    """A StableDiffusion3Pipeline, with or without T5."""
    network = diffusers.SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
        qk_norm=qk_norm,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=network,
        scheduler=scheduler or diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift=0.1),
        text_encoder=clip(projection=True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(projection=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(2 * WIDTH) if third else None,
        tokenizer_3=t5_tokenizer() if third else None,
    )


def flux(scheduler: Any = None, *, guidance: bool = True) -> Any:
    """A FluxPipeline."""
    network = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance,
        axes_dims_rope=(2, 2, 4),
    )
    dynamic = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return diffusers.FluxPipeline(
        scheduler=scheduler or dynamic,
        vae=vae(4, shift=0.1),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=network,
    )
