"""The tokenizer of the portraits' prompts: one token a word, built from all captions."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING

from .render import (
    GARMENT_COLORS,
    GARMENTS,
    HAIR_COLORS,
    HAIR_STYLES,
    HILLS,
    MOODS,
    ORBS,
    SKIES,
)

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def phrases() -> list[str]:
    """Every phrase that a caption may contain."""
    names = itertools.chain(
        MOODS, HAIR_COLORS, HAIR_STYLES, GARMENT_COLORS, GARMENTS, HILLS, SKIES, filter(None, ORBS)
    )
    return ["a an person with and beard ,", *names]


def words() -> set[str]:
    """Every word of the prompt grammar, split as the tokenizer splits."""
    return {w for phrase in phrases() for w in phrase.replace("-", " - ").split()}


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer whose byte-pair merges were trained until every word is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer  # seconds to import, and only training needs it

    from .architecture import TOKENS

    plain = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=5000,
        min_frequency=1,
        special_tokens=special,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    plain.train_from_iterator(sorted(words()), trainer)
    model = json.loads(plain.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split()) for m in model["merges"]]
    tokenizer = CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=TOKENS)
    broken = [w for w in sorted(words()) if len(tokenizer(w).input_ids) != 3]
    if broken:
        raise AssertionError(f"these words are not single tokens: {broken}")
    return tokenizer


def shortened(caption: str, rng: random.Random) -> str:
    """A caption as seen in training: at times without its last clauses, at times empty."""
    if rng.random() < 0.1:
        return ""
    clauses = caption.split(", ")
    while len(clauses) > 1 and rng.random() < 0.15:
        clauses.pop()
    return ", ".join(clauses)


def unknown_words(prompt: str) -> list[str]:
    """Words of a prompt that the portraits model was never taught."""
    known = words()
    split = prompt.lower().replace(",", " , ").replace("-", " - ").split()
    return [w for w in split if w not in known]
