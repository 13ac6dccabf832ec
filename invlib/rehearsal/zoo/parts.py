"""Small parts of diffusers pipelines with random weights: encoders, networks, autoencoders."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import diffusers
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
TOKENS = 12  # longest prompt of the CLIP tokenizers
WIDTH = 16  # of the text encoders


def clip_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer, one token a letter."""
    letters = [*string.ascii_lowercase, *(c + "</w>" for c in string.ascii_lowercase)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters]
    return CLIPTokenizer(
        vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=TOKENS
    )


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that ends like T5's, one token a word of a few."""
    words = ["<pad>", "</s>", "<unk>", "a", "red", "blue", "cat", "dog", "bad"]
    vocabulary = {w: i for i, w in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=words[2]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def clip(*, projection: bool = False) -> Any:
    """A CLIP text encoder of two layers."""
    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5(width: int = WIDTH) -> T5EncoderModel:
    """A T5 encoder of one layer."""
    return T5EncoderModel(
        T5Config(vocab_size=9, d_model=width, d_kv=8, num_heads=2, d_ff=WIDTH, num_layers=1)
    )


def vae(channels: int = 4, *, halvings: int = 1, shift: float | None = None) -> Any:
    """An autoencoder."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8,) * (halvings + 1),
        down_block_types=("DownEncoderBlock2D",) * (halvings + 1),
        up_block_types=("UpDecoderBlock2D",) * (halvings + 1),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        mid_block_add_attention=False,
        scaling_factor=0.7,
        shift_factor=shift,
    )


def unet(**options: Any) -> Any:
    """A conditional UNet with one attention block."""
    defaults = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "cross_attention_dim": WIDTH,
    }
    return diffusers.UNet2DConditionModel(**{**defaults, **options})


def dpm(**options: Any) -> Any:
    """DPM-Solver++(2M) as for Stable Diffusion."""
    return diffusers.DPMSolverMultistepScheduler(**{**SD, **options})


def build(
    make: Callable[..., Any], *arguments: Any, dtype: Any = torch.float64, **options: Any
) -> Any:
    """A pipeline with reproducible weights, in the given dtype, without progress bars."""
    pipe = seeded(make, *arguments, **options)
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            at_rest(module, dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a function makes, with the same random weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*arguments, **options)


def at_rest(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """The module, not in training, and in the given dtype."""
    return module.eval().requires_grad_(False).to(dtype)
