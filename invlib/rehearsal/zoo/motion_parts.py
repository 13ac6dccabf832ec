"""Parts of pipelines of moving pictures on UNets."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers.models.unets.unet_i2vgen_xl import I2VGenXLUNet
from PIL import Image

from .parts import WIDTH
from .unet_parts import HINT, photograph, quieten

FRAMES = 2


def clip_of_photographs() -> list[Image.Image]:
    """As many photographs as frames."""
    return [photograph()] * FRAMES


def motion_adapter(**options: Any) -> Any:
    """What makes a `unet` move."""
    return diffusers.MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=4,
        **options,
    )


def controlnet_sparse() -> Any:
    """A ControlNet of a few frames."""
    return diffusers.SparseControlNetModel(
        block_out_channels=(8, 16),
        down_block_types=("DownBlockMotion", "CrossAttnDownBlockMotion"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        motion_num_attention_heads=2,
        cross_attention_dim=WIDTH,
        conditioning_channels=3,
        conditioning_embedding_out_channels=HINT,
        use_simplified_condition_embedding=False,
    )


BLOCKS_3D: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock3D", "CrossAttnDownBlock3D"),
    "up_block_types": ("CrossAttnUpBlock3D", "UpBlock3D"),
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "cross_attention_dim": WIDTH,
}


def unet_3d() -> Any:
    """A UNet of frames."""
    return diffusers.UNet3DConditionModel(**BLOCKS_3D)


def unet_i2vgen() -> Any:
    """A UNet of frames that begin with a picture."""
    return I2VGenXLUNet(**BLOCKS_3D)


def unet_spatiotemporal() -> Any:
    """The UNet of Stable Video Diffusion."""
    model = diffusers.UNetSpatioTemporalConditionModel(
        sample_size=8,
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"),
        up_block_types=("CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"),
        num_attention_heads=(2, 2),
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=12,
        cross_attention_dim=WIDTH,
        num_frames=FRAMES,
    )
    quieten(model.conv_out)
    return model


def vae_temporal() -> Any:
    """The autoencoder of Stable Video Diffusion."""
    return diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        layers_per_block=1,
    )
