"""Parts of pipelines with a prior and a decoder, or with stages of growing size."""

from __future__ import annotations

from functools import partial
from typing import Any

import diffusers
import torch
from diffusers.models.unets.unet_kandinsky3 import Kandinsky3UNet
from diffusers.pipelines.deprecated.wuerstchen import (
    PaellaVQModel,
    WuerstchenDiffNeXt,
    WuerstchenPrior,
)
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
from diffusers.pipelines.shap_e import ShapERenderer
from torch import Tensor

from .parts import TOKENS, WIDTH, unet
from .unet_parts import quieten

linear_ddim = partial(
    diffusers.DDIMScheduler, beta_end=0.012, clip_sample=False, set_alpha_to_one=False
)
"""DDIM on the linear betas of Kandinsky."""


def embedding(*shape: int) -> Tensor:
    """A smooth stand-in for an embedding, ``[1, *shape]``."""
    return torch.linspace(-1.0, 1.0, int(torch.tensor(shape).prod())).sin().reshape(1, *shape)


def unet_of_pixels(**options: Any) -> Any:
    """A UNet on pictures, that also predicts a variance."""
    model = unet(**{"in_channels": 3, "out_channels": 6, **options})
    quieten(model.conv_out)
    return model


def unet_of_embeddings(kind: str, hidden: str, **options: Any) -> Any:
    """A UNet conditioned on embeddings, that also predicts a variance."""
    return unet(
        out_channels=8,
        addition_embed_type=kind,
        encoder_hid_dim_type=hidden,
        encoder_hid_dim=WIDTH,
        **options,
    )


def movq(halvings: int = 1, channels: int = 4) -> Any:
    """The autoencoder of Kandinsky."""
    return diffusers.VQModel(
        block_out_channels=(8,) * (halvings + 1),
        down_block_types=("DownEncoderBlock2D",) * (halvings + 1),
        up_block_types=("UpDecoderBlock2D",) * (halvings + 1),
        latent_channels=channels,
        num_vq_embeddings=12,
        vq_embed_dim=channels,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )


def multilingual_clip() -> Any:
    """The text encoder of Kandinsky 2.1."""
    return MultilingualCLIP(
        MCLIPConfig(
            transformerDimSize=WIDTH,
            imageDimSize=WIDTH,
            vocab_size=54,
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=80,
        )
    )


def prior(**options: Any) -> Any:
    """A transformer on embeddings."""
    defaults = {
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 1,
        "embedding_dim": WIDTH,
        "num_embeddings": TOKENS,
    }
    model = diffusers.PriorTransformer(**{**defaults, **options})
    quieten(model.proj_to_clip_embeddings)
    return model


def unet_kandinsky_3() -> Any:
    """The UNet of Kandinsky 3."""
    model = Kandinsky3UNet(
        time_embedding_dim=8,
        groups=2,
        attention_head_dim=4,
        layers_per_block=2,
        block_out_channels=(8, 16),
        cross_attention_dim=8,
        encoder_hid_dim=WIDTH,
    )
    quieten(model.conv_out)
    return model


def unet_cascade(**options: Any) -> Any:
    """The UNet of Stable Cascade, of one level."""
    defaults = {
        "conditioning_dim": WIDTH,
        "block_out_channels": (16,),
        "num_attention_heads": (2,),
        "down_num_layers_per_block": (1,),
        "up_num_layers_per_block": (1,),
        "down_blocks_repeat_mappers": (1,),
        "up_blocks_repeat_mappers": (1,),
        "block_types_per_layer": (
            ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
        ),
        "clip_text_in_channels": WIDTH,
        "clip_text_pooled_in_channels": WIDTH,
        "clip_image_in_channels": WIDTH,
        "timestep_ratio_embedding_dim": 8,
        "self_attn": True,
        "switch_level": None,
        "dropout": (0.0,),
    }
    return diffusers.StableCascadeUNet(**{**defaults, **options})


def decoder_wuerstchen() -> Any:
    """The decoding network of Wuerstchen."""
    return WuerstchenDiffNeXt(
        c_r=8,
        c_cond=WIDTH,
        c_hidden=[8, 16],
        nhead=[-1, 2],
        blocks=[1, 1],
        level_config=["CT", "CTA"],
        inject_effnet=[False, True],
        effnet_embd=4,
        clip_embd=WIDTH,
        dropout=0.0,
    )


def prior_wuerstchen() -> Any:
    """The prior network of Wuerstchen."""
    return WuerstchenPrior(c_in=4, c=WIDTH, c_cond=WIDTH, c_r=8, depth=1, nhead=2, dropout=0.0)


def paella() -> Any:
    """The autoencoder of Wuerstchen and Stable Cascade."""
    return PaellaVQModel(
        levels=1, bottleneck_blocks=1, embed_dim=8, latent_channels=4, num_vq_embeddings=12
    )


def renderer() -> Any:
    """What draws the radiance fields of Shap-E, with two samples a ray."""
    model = ShapERenderer(
        param_names=[f"nerstf.mlp.{i}.weight" for i in range(4)],
        param_shapes=[(8, 93), (8, 8), (8, 8), (8, 8)],
        d_latent=8,
        d_hidden=8,
        n_output=12,
    )
    model.decode_to_image = partial(
        model.decode_to_image, ray_batch_size=320, n_coarse_samples=2, n_fine_samples=2
    )
    return model
