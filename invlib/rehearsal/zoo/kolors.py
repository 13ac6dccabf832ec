"""Recipes of Kolors, whose classes diffusers hides where sentencepiece is missing."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
from transformers import BatchEncoding, PreTrainedTokenizerFast

from .calls import IMAGE, SIZED
from .parts import WIDTH, t5_tokenizer
from .unet_assembly import recipe
from .unet_parts import unet_xl


class PositionedTokenizer(PreTrainedTokenizerFast):
    """A tokenizer that also says where each token stands, as that of ChatGLM."""

    def __call__(self, *arguments: Any, **options: Any) -> BatchEncoding:
        """Tokens, their mask and their positions."""
        tokens = super().__call__(*arguments, **options)
        tokens["position_ids"] = torch.arange(tokens.input_ids.shape[-1]).expand_as(
            tokens.input_ids
        )
        return tokens


def glm_tokenizer() -> PositionedTokenizer:
    """A tokenizer of a few words, with positions."""
    plain = t5_tokenizer()
    return PositionedTokenizer(
        tokenizer_object=plain.backend_tokenizer, pad_token="<pad>", unk_token="<unk>"
    )


def glm() -> Any:
    """The text encoder of Kolors, whose layers would start from whatever memory held."""
    model = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2,
            padded_vocab_size=9,
            hidden_size=WIDTH,
            ffn_hidden_size=WIDTH,
            kv_channels=8,
            num_attention_heads=2,
            seq_length=256,
            original_rope=True,
        ),
        empty_init=False,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


KOLORS = {
    "text_encoder": glm,
    "tokenizer": glm_tokenizer,
    "unet": partial(
        unet_xl,
        cross_attention_dim=WIDTH,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="text_proj",
    ),
}

KOLORS_FAMILY = [
    recipe(
        "KolorsPipeline",
        SIZED,
        KOLORS,
        source="diffusers.pipelines.kolors.pipeline_kolors:KolorsPipeline",
    ),
    recipe(
        "KolorsImg2ImgPipeline",
        IMAGE,
        KOLORS,
        source="diffusers.pipelines.kolors.pipeline_kolors_img2img:KolorsImg2ImgPipeline",
    ),
    recipe(
        "KolorsPAGPipeline",
        {**SIZED, "pag_scale": 2.0},
        KOLORS,
        source="diffusers.pipelines.pag.pipeline_pag_kolors:KolorsPAGPipeline",
    ),
]
