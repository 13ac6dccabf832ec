"""Recipes of pipelines of sounds on UNets."""

from __future__ import annotations

from functools import partial
from typing import Any

from .calls import TEXT
from .cascade_parts import embedding
from .parts import WIDTH, t5, unet, vae
from .sound_parts import (
    clap,
    clap_extractor,
    clap_text,
    gpt2,
    projection,
    roberta_tokenizer,
    t5_pieces,
    unet_audioldm2,
    vocoder,
)
from .unet_assembly import recipe
from .unet_parts import changed

EMBEDS = {"prompt_embeds": embedding(WIDTH), "negative_prompt_embeds": -embedding(WIDTH)}
LENGTH = {**TEXT, "audio_length_in_s": 4.0}


def mono() -> Any:
    """An autoencoder of spectrograms."""
    return changed(vae(), in_channels=1, out_channels=1)


CLASSED = partial(
    unet,
    class_embed_type="simple_projection",
    projection_class_embeddings_input_dim=WIDTH,
    class_embeddings_concat=True,
    cross_attention_dim=(8, 16),
)
AUDIO = {"tokenizer": roberta_tokenizer, "vae": mono, "vocoder": vocoder}

SOUNDS = [
    recipe("AudioLDMPipeline", LENGTH, {**AUDIO, "text_encoder": clap_text, "unet": CLASSED}),
    recipe(
        "MusicLDMPipeline",
        {**LENGTH, "prompt": None, **EMBEDS},
        {**AUDIO, "text_encoder": clap, "feature_extractor": clap_extractor, "unet": CLASSED},
        note="Embeddings for a prompt: its call does not fit the CLAP of transformers 5.",
    ),
    recipe(
        "AudioLDM2Pipeline",
        {**LENGTH, "max_new_tokens": 4},
        {
            **AUDIO,
            "text_encoder": clap,
            "text_encoder_2": t5,
            "tokenizer_2": t5_pieces,
            "projection_model": projection,
            "language_model": gpt2,
            "feature_extractor": clap_extractor,
            "unet": unet_audioldm2,
        },
    ),
]
