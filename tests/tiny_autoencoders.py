"""Small autoencoders of diffusers with random weights, one of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import diffusers
import torch

from invlib.rehearsal.zoo.parts import at_rest, seeded
from invlib.rehearsal.zoo.transformer_autoencoders import autoencoder_dc, autoencoder_flux2


@dataclass(frozen=True)
class Kind:
    """One kind of autoencoder.

    Attributes:
        make: builds it.
        latents: shape of one sample's latents.
        picture: shape of what they decode to.
        options: keyword arguments of its ``decode``.
    """

    make: Callable[[], Any]
    latents: tuple[int, ...]
    picture: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


def build(kind: Kind, dtype: torch.dtype = torch.float64) -> Any:
    """The autoencoder of a kind, with reproducible weights."""
    return at_rest(seeded(kind.make), dtype)


def kl() -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )


def tiny() -> Any:
    return diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )


def asymmetric() -> Any:
    return diffusers.AsymmetricAutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        down_block_out_channels=(8, 8),
        up_block_types=("UpDecoderBlock2D",) * 2,
        up_block_out_channels=(8, 8),
        norm_num_groups=4,
    )


def deep_compression() -> Any:
    blocks = ("ResBlock", "EfficientViTBlock")
    return autoencoder_dc(
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
    )


def temporal() -> Any:
    return diffusers.AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 2, block_out_channels=(32, 32)
    )


def wan() -> Any:
    return diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        scale_factor_spatial=4,
    )


def qwen_image() -> Any:
    return diffusers.AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[True, True]
    )


def ltx(*, timestep: bool = False, noise: bool = False) -> Any:
    return diffusers.AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("LTXVideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 8),
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, False),
        decoder_spatio_temporal_scaling=(True, False),
        decoder_inject_noise=(noise,) * 3,
        downsample_type=("conv", "conv"),
        upsample_residual=(False, False),
        upsample_factor=(1, 1),
        timestep_conditioning=timestep,
        patch_size=1,
    )


def cog_video() -> Any:
    return diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 2,
        up_block_types=("CogVideoXUpBlock3D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        temporal_compression_ratio=2,
    )


def mochi() -> Any:
    return diffusers.AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        latent_channels=4,
        layers_per_block=(1, 1, 1, 1, 1),
        temporal_expansions=(1, 2, 1),
        spatial_expansions=(2, 1, 1),
        latents_mean=(0.0,) * 4,
        latents_std=(1.0,) * 4,
    )


def hunyuan_video() -> Any:
    return diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 3,
        up_block_types=("HunyuanVideoUpBlock3D",) * 3,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        spatial_compression_ratio=4,
    )


def vq(**options: Any) -> Any:
    return diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        num_vq_embeddings=16,
        **options,
    )


def oobleck() -> Any:
    return diffusers.AutoencoderOobleck(
        encoder_hidden_size=8,
        downsampling_ratios=[2, 2],
        channel_multiples=[1, 1],
        decoder_channels=8,
        decoder_input_channels=4,
        audio_channels=2,
    )


def consistency() -> Any:
    return diffusers.ConsistencyDecoderVAE(
        encoder_block_out_channels=(8, 8, 8, 8),
        encoder_norm_num_groups=4,
        encoder_layers_per_block=1,
        decoder_block_out_channels=(32, 32, 32, 32),
        decoder_layers_per_block=1,
    )


KINDS: dict[str, Kind] = {
    "AutoencoderKL": Kind(kl, (4, 4, 3), (3, 8, 6)),
    "AutoencoderKLFlux2": Kind(partial(autoencoder_flux2, attention=True), (4, 4, 4), (3, 8, 8)),
    "AutoencoderTiny": Kind(tiny, (4, 4, 3), (3, 8, 6)),
    "AsymmetricAutoencoderKL": Kind(asymmetric, (4, 4, 3), (3, 8, 6)),
    "AutoencoderDC": Kind(deep_compression, (4, 3, 4), (3, 6, 8)),
    "VQModel": Kind(vq, (3, 4, 3), (3, 8, 6), {"force_not_quantize": True}),
    "AutoencoderKLWan": Kind(wan, (4, 2, 2, 2), (3, 5, 8, 8)),
    "AutoencoderKLQwenImage": Kind(qwen_image, (4, 1, 3, 2), (3, 1, 12, 8)),
    "AutoencoderKLLTXVideo": Kind(ltx, (4, 2, 3, 3), (3, 3, 6, 6)),
    "AutoencoderKLCogVideoX": Kind(cog_video, (4, 3, 3, 2), (3, 5, 6, 4)),
    "AutoencoderKLMochi": Kind(mochi, (4, 2, 3, 3), (3, 3, 6, 6)),
    "AutoencoderKLHunyuanVideo": Kind(hunyuan_video, (4, 2, 2, 2), (3, 5, 8, 8)),
    "AutoencoderOobleck": Kind(oobleck, (4, 4), (2, 16)),
}
