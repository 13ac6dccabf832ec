"""Small autoencoders of the kinds that pipelines on transformers decode with."""

from __future__ import annotations

from typing import Any

import diffusers

from .parts import vae

STATISTICS = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.1, 1.2, 0.9, 1.0]}


def autoencoder_dc(**options: Any) -> Any:
    """A deep-compression autoencoder that halves once."""
    defaults = {
        "latent_channels": 4,
        "attention_head_dim": 4,
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "encoder_layers_per_block": (1, 1),
        "decoder_layers_per_block": (1, 1),
        "encoder_qkv_multiscales": ((), ()),
        "decoder_qkv_multiscales": ((), ()),
        "scaling_factor": 0.7,
    }
    return diffusers.AutoencoderDC(**{**defaults, **options})


def autoencoder_qwen(*, halvings: int = 1, channels: int = 4) -> Any:
    """The autoencoder of QwenImage."""
    return diffusers.AutoencoderKLQwenImage(
        base_dim=channels,
        z_dim=4,
        dim_mult=[1] * (halvings + 1),
        num_res_blocks=0,
        temperal_downsample=[False] * halvings,
        **STATISTICS,
    )


def autoencoder_flux2(*, attention: bool = False) -> Any:
    """The autoencoder of Flux 2, which halves once and normalises packed latents."""
    return diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=attention,
    )


def autoencoder_qwen21() -> Any:
    """The autoencoder of QwenImage 2.1, which halves four times."""
    return diffusers.AutoencoderKLQwenImage21(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=4,
        dim_mult=[1] * 5,
        num_res_blocks=0,
        temperal_downsample=[False] * 4,
        **STATISTICS,
    )


def autoencoder_wan(*, patch: int | None = None) -> Any:
    """The autoencoder of Wan, which halves once, after it has packed patches."""
    return diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        in_channels=3 * (patch or 1) ** 2,
        out_channels=3 * (patch or 1) ** 2,
        patch_size=patch,
        dim_mult=[1, 1],
        num_res_blocks=0,
        temperal_downsample=[False],
        **STATISTICS,
        scale_factor_spatial=2 * (patch or 1),
        scale_factor_temporal=1,
    )


def autoencoder_hunyuan() -> Any:
    """The autoencoder of HunyuanImage, which halves once."""
    return diffusers.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32),
        layers_per_block=1,
        spatial_compression_ratio=2,
        sample_size=16,
        scaling_factor=0.7,
    )


def autoencoder_refiner() -> Any:
    """The autoencoder of HunyuanImage's refiner, which halves four times."""
    return diffusers.AutoencoderKLHunyuanImageRefiner(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8, 8),
        layers_per_block=1,
        scaling_factor=0.7,
    )


def autoencoder_deep() -> Any:
    """The common autoencoder with five halvings, for pictures of a million pixels."""
    return diffusers.AutoencoderKL(
        block_out_channels=(2,) * 6,
        down_block_types=("DownEncoderBlock2D",) * 6,
        up_block_types=("UpDecoderBlock2D",) * 6,
        norm_num_groups=2,
        latent_channels=16,
        mid_block_add_attention=False,
        shift_factor=0.1,
    )


def autoencoder_glm() -> Any:
    """The common autoencoder with a mean and a deviation of each channel."""
    autoencoder = vae()
    autoencoder.register_to_config(**STATISTICS)
    return autoencoder
