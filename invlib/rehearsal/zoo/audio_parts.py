"""Small parts of pipelines that make sound."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder

from .parts import WIDTH
from .video_networks import LATENT


def oobleck(channels: int = LATENT) -> Any:
    """The autoencoder of Stable Audio: 8 samples a latent."""
    return diffusers.AutoencoderOobleck(
        encoder_hidden_size=4,
        downsampling_ratios=[2, 4],
        channel_multiples=[1, 2],
        decoder_channels=4,
        decoder_input_channels=channels,
        audio_channels=1,
        sampling_rate=8,
    )


def audio_projection() -> Any:
    """The projection of Stable Audio's prompts and lengths."""
    return diffusers.StableAudioProjectionModel(
        text_encoder_dim=WIDTH, conditioning_dim=WIDTH, min_value=0, max_value=8
    )


def edm_dpm() -> Any:
    """DPM-Solver++(2M) on the noise levels of Stable Audio."""
    return diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.3,
        sigma_max=500,
        sigma_data=1.0,
        sigma_schedule="exponential",
        prediction_type="v_prediction",
    )


def ltx2_audio_vae() -> Any:
    """The autoencoder of LTX-2's sound, on spectra of eight bands."""
    return diffusers.AutoencoderKLLTX2Audio(
        base_channels=4,
        ch_mult=(1,),
        num_res_blocks=1,
        resolution=16,
        latent_channels=2,
        mel_bins=8,
    )


def ltx2_connectors() -> Any:
    """What makes LTX-2's prompts from two layers of its text encoder."""
    heads = {
        f"{stream}_connector_{size}": number
        for stream in ("video", "audio")
        for size, number in (
            ("num_attention_heads", 2),
            ("attention_head_dim", 8),
            ("num_layers", 1),
            ("num_learnable_registers", None),
        )
    }
    return LTX2TextConnectors(
        caption_channels=WIDTH, text_proj_in_factor=2, connector_rope_base_seq_len=8, **heads
    )


def vocoder() -> Any:
    """The vocoder of LTX-2: four samples a spectrum."""
    return LTX2Vocoder(
        in_channels=16,
        hidden_channels=8,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3]],
        output_sampling_rate=400,
    )


def same() -> Any:
    """The autoencoder of Stable Audio 3: 16 samples a latent."""
    return diffusers.AutoencoderSAME(
        audio_channels=1,
        patch_size=4,
        encoder_channels=8,
        encoder_c_mults=(1,),
        encoder_strides=(4,),
        encoder_transformer_depths=(1,),
        latent_dim=LATENT,
        dim_heads=4,
        ff_mult=1,
        sampling_rate=16,
    )


def durations() -> Any:
    """Lengths of sound as tokens."""
    return StableAudio3DurationEmbedder(output_dim=WIDTH, fourier_dim=8)


def ace_step_conditions() -> Any:
    """What makes ACE-Step's conditions from prompt, lyrics and timbre."""
    return diffusers.AceStepConditionEncoder(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        text_hidden_dim=WIDTH,
        timbre_hidden_dim=LATENT,
        num_lyric_encoder_hidden_layers=1,
        num_timbre_encoder_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )


def longcat_vae() -> Any:
    """The autoencoder of LongCat's sound: 8 samples a latent."""
    return diffusers.LongCatAudioDiTVae(
        channels=4,
        c_mults=[1, 2],
        strides=[2, 4],
        latent_dim=LATENT,
        encoder_latent_dim=2 * LATENT,
        downsampling_ratio=8,
        sample_rate=8,
    )
