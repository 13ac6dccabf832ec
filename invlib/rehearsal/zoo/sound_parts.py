"""Parts of pipelines of sounds."""

from __future__ import annotations

import string
from typing import Any

import diffusers
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    ClapTextModelWithProjection,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Tokenizer,
)

from .parts import TOKENS, WIDTH

MEL = 8
"""Bands of a spectrogram."""


def clap_text_config() -> ClapTextConfig:
    """What configures the text side of CLAP."""
    return ClapTextConfig(
        vocab_size=60,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS + 2,
    )


def clap_text() -> Any:
    """The text encoder of AudioLDM."""
    return ClapTextModelWithProjection(clap_text_config())


def clap() -> Any:
    """A CLAP of text and sound."""
    sound = ClapAudioConfig(
        spec_size=MEL,
        window_size=4,
        num_mel_bins=MEL,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        patch_size=1,
        patch_stride=1,
        patch_embeds_hidden_size=4,
        projection_dim=WIDTH,
        depths=[1],
        num_attention_heads=[2],
        num_hidden_layers=1,
    )
    return ClapModel(
        ClapConfig(
            text_config=clap_text_config().to_dict(),
            audio_config=sound.to_dict(),
            projection_dim=WIDTH,
        )
    )


def clap_extractor() -> Any:
    """What makes spectrograms for `clap`."""
    return ClapFeatureExtractor(feature_size=MEL)


def roberta_tokenizer() -> RobertaTokenizer:
    """A Roberta tokenizer, one token a letter."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *string.ascii_lowercase, "\u0120"]
    return RobertaTokenizer(
        vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=TOKENS
    )


def t5_pieces() -> T5Tokenizer:
    """A T5 tokenizer of its own class, one token a letter."""
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", "a", "c", "e", "r", "t"]
    return T5Tokenizer(vocab=[(p, 0.0) for p in pieces], extra_ids=0, model_max_length=TOKENS)


def gpt2() -> Any:
    """The language model of AudioLDM 2."""
    config = GPT2Config(
        vocab_size=9, n_positions=64, n_embd=WIDTH, n_layer=1, n_head=2, max_new_tokens=4
    )
    config.max_new_tokens = 4
    return GPT2LMHeadModel(config)


def projection() -> Any:
    """The projection of AudioLDM 2 to its language model."""
    return diffusers.AudioLDM2ProjectionModel(
        text_encoder_dim=WIDTH, text_encoder_1_dim=WIDTH, langauge_model_dim=WIDTH
    )


def unet_audioldm2() -> Any:
    """The UNet of AudioLDM 2."""
    return diffusers.AudioLDM2UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=((None, WIDTH, WIDTH),) * 2,
    )


def vocoder() -> Any:
    """A vocoder."""
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=MEL,
            sampling_rate=16,
            upsample_initial_channel=8,
            upsample_rates=[2, 2],
            upsample_kernel_sizes=[4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            normalize_before=False,
        )
    )
