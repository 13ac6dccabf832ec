"""Parts of pipelines on UNets beside those in `parts`."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

from .parts import WIDTH, unet

XL = {
    "cross_attention_dim": 2 * WIDTH,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": WIDTH + 6 * 4,
}
"""What a UNet of Stable Diffusion XL has beside that of Stable Diffusion."""

HINT = (4, 8)
"""Channels of the layers that halve a control picture once, to the size of the latents."""


def picture(height: int = 16, width: int = 16, channels: int = 3) -> Tensor:
    """A smooth picture in [0, 1], ``[1, channels, height, width]``."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [torch.sin(0.3 * (c + 1) * x + 0.2 * y + c) for c in range(channels)]
    return (0.5 + 0.5 * torch.stack(waves))[None]


def mask(height: int = 16, width: int = 16) -> Tensor:
    """A mask of the right half, ``[1, 1, height, width]``."""
    return (torch.arange(width) >= width // 2).float().expand(1, 1, height, width).clone()


def photograph() -> Image.Image:
    """The picture as a file would hold it."""
    return Image.fromarray((255 * picture()[0]).byte().permute(1, 2, 0).numpy())


def unet_xl(**options: Any) -> Any:
    """A conditional UNet as in Stable Diffusion XL."""
    return unet(**{**XL, **options})


def controlnet(**options: Any) -> Any:
    """A ControlNet beside `unet`."""
    model = diffusers.ControlNetModel
    return model.from_unet(unet(**options), conditioning_embedding_out_channels=HINT)


def controlnet_union() -> Any:
    """A ControlNet of several kinds of control beside `unet_xl`."""
    return diffusers.ControlNetUnionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        attention_head_dim=2,
        norm_num_groups=4,
        conditioning_embedding_out_channels=HINT,
        num_trans_channel=8,
        num_trans_head=2,
        num_proj_channel=8,
        **XL,
    )


def controlnet_xs(**options: Any) -> Any:
    """A ControlNet-XS adapter beside a `unet` of two layers a block."""
    return diffusers.ControlNetXSAdapter.from_unet(
        unet(layers_per_block=2, **options),
        block_out_channels=[4, 8],
        num_attention_heads=2,
        conditioning_embedding_out_channels=HINT,
    )


ATTENTION_FIRST = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
"""The order of blocks in Stable Diffusion, on which adapters and attention stores rely."""


def adapter() -> Any:
    """A T2I-Adapter beside a `unet` with attention first."""
    return diffusers.T2IAdapter(channels=[8, 16], num_res_blocks=1, downscale_factor=2)


def clip_vision(*, projection: bool = True) -> Any:
    """A CLIP image encoder of one layer."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    return (CLIPVisionModelWithProjection if projection else CLIPVisionModel)(config)


def clip_processor() -> Any:
    """What scales pictures for `clip_vision`."""
    return CLIPImageProcessor(crop_size=16, size={"shortest_edge": 16})


def changed(model: Any, **options: Any) -> Any:
    """A new model, configured as the given one but for the options."""
    config = {name: value for name, value in model.config.items() if not name.startswith("_")}
    return type(model)(**{**config, **options})


def quieten(layer: nn.Module) -> None:
    """Shrink the last layer of a network whose random weights would fold the sampler."""
    for parameter in layer.parameters():
        parameter.data.mul_(0.1)
