"""Recipes of pipelines without text: of classes, of pictures, of nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import diffusers
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import (
    LDMBertConfig,
    LDMBertModel,
)

from .calls import GUIDANCE, SIZED, STEPS
from .cascade_parts import movq
from .parts import SD, WIDTH, unet, vae
from .unet_assembly import recipe
from .unet_parts import mask, picture

ddim = partial(diffusers.DDIMScheduler, clip_sample=False)


def unet_2d(channels: int = 3, **options: Any) -> Any:
    """A UNet of time alone."""
    defaults = {
        "sample_size": 8,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return diffusers.UNet2DModel(**{**defaults, **options})


def unet_1d() -> Any:
    """A UNet of sounds."""
    return diffusers.UNet1DModel(
        sample_size=64,
        sample_rate=16,
        in_channels=2,
        out_channels=2,
        extra_in_channels=64,
        flip_sin_to_cos=True,
        down_block_types=("DownBlock1DNoSkip", "DownBlock1D", "AttnDownBlock1D"),
        up_block_types=("AttnUpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"),
        block_out_channels=(32, 32, 64),
    )


def dit() -> Any:
    """A DiT of two classes."""
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        norm_num_groups=4,
    )


def bert() -> Any:
    """The text encoder of latent diffusion."""
    return LDMBertModel(
        LDMBertConfig(
            vocab_size=54,
            max_position_embeddings=77,
            encoder_layers=1,
            encoder_ffn_dim=WIDTH,
            encoder_attention_heads=2,
            head_dim=8,
            d_model=WIDTH,
        )
    )


MARIGOLD = {
    "unet": partial(unet, in_channels=8),
    "scheduler": partial(
        diffusers.DDIMScheduler, **SD, clip_sample=False, prediction_type="v_prediction"
    ),
    "prediction_type": None,
    "default_denoising_steps": 6,
    "default_processing_resolution": 16,
}
PICTURED = {**STEPS, "image": picture(), "processing_resolution": 16}

UNCONDITIONAL = [
    recipe("DDPMPipeline", STEPS, {"unet": unet_2d}, note="With DPM-Solver for its DDPM."),
    recipe(
        "DDPMPipeline: DDPM",
        STEPS,
        {"unet": unet_2d, "scheduler": diffusers.DDPMScheduler},
        note="Its own scheduler draws fresh noise in every step.",
    ),
    recipe("DDIMPipeline", {**STEPS, "eta": 0.0}, {"unet": unet_2d, "scheduler": ddim}),
    recipe(
        "DiTPipeline",
        {**STEPS, **GUIDANCE, "class_labels": [1]},
        {"transformer": dit, "id2label": {0: "tench", 1: "goldfish"}},
    ),
    recipe(
        "ConsistencyModelPipeline",
        {"num_inference_steps": 1, "class_labels": 1},
        {
            "unet": partial(unet_2d, num_class_embeds=2),
            "scheduler": partial(diffusers.CMStochasticIterativeScheduler, clip_denoised=False),
        },
        note="One step, without clipping, as further steps draw fresh noise.",
    ),
    recipe(
        "DanceDiffusionPipeline",
        STEPS,
        {"unet": unet_1d, "scheduler": diffusers.IPNDMScheduler},
    ),
    recipe(
        "LDMSuperResolutionPipeline",
        {**STEPS, "image": picture(8, 8), "eta": 0.0},
        {
            "vqvae": partial(movq, channels=3),
            "unet": partial(unet_2d, in_channels=6),
            "scheduler": ddim,
        },
    ),
    recipe(
        "LDMTextToImagePipeline",
        {**SIZED, "height": 64, "width": 64},
        {"vqvae": vae, "bert": bert, "scheduler": ddim},
    ),
    recipe(
        "RePaintPipeline",
        {"num_inference_steps": 6, "image": picture(8, 8), "mask_image": mask(8, 8)},
        {"unet": unet_2d, "scheduler": diffusers.RePaintScheduler},
    ),
    recipe("MarigoldDepthPipeline", PICTURED, {**MARIGOLD, "prediction_type": "depth"}),
    recipe("MarigoldNormalsPipeline", PICTURED, {**MARIGOLD, "prediction_type": "normals"}),
    recipe(
        "MarigoldIntrinsicsPipeline",
        PICTURED,
        {
            **MARIGOLD,
            "unet": partial(unet, in_channels=12, out_channels=8),
            "prediction_type": "intrinsics",
        },
    ),
]
