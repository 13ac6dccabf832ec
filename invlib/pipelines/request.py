"""What a user asked for, checked and completed as the pipeline would complete it."""

from __future__ import annotations

from typing import Any

import torch

from .family import Family
from .settings import Settings, check_steps


def complete(
    family: Family, pipe: Any, images: int, size: tuple[int, ...], asked: tuple[Any, ...]
) -> tuple[Settings, list[str]]:
    """The settings, and notes about what was assumed.

    Args:
        family: the family of the pipeline.
        pipe: the pipeline.
        images: number of images.
        size: height and width of the images in pixels.
        asked: prompt, negative prompt, guidance scale, number of steps, as the user gave them.

    Raises:
        TypeError: if one of them has the wrong type.
        ValueError: if one of them does not fit the pipeline or the others.
    """
    prompt, negative, scale, steps = asked
    family.check_size(pipe, *size)
    prompts, negatives = family.prompts(pipe, prompt, negative, images)
    notes = []
    if prompts is not None and prompt is None:
        notes.append(
            "no prompt given: the empty prompt was assumed, at guidance scale 1 unless one was "
            "given; the certificate cannot vouch for the original prompt"
        )
        scale = 1.0 if scale is None else scale
    elif prompts is not None and scale is None:
        notes.append("no guidance scale given: the pipeline's default was assumed")
    settings = Settings(
        pipeline=type(pipe).__name__,
        prompt=prompts,
        negative_prompt=negatives,
        guidance_scale=family.scale(pipe, scale),
        num_inference_steps=check_steps(steps),
        height=size[0],
        width=size[1],
    )
    if negatives is not None and not family.guides(pipe, settings):
        notes.append("the negative prompt has no effect without guidance")
    for tokenizer, length in family.tokenizers(pipe):
        for text in dict.fromkeys((*(prompts or ()), *(negatives or ()))):
            if len(tokenizer(text).input_ids) > length:
                notes.append(f"the pipeline cuts a prompt after {length} tokens: {text!r}")
    if family.module(pipe).dtype in (torch.float16, torch.bfloat16):
        notes.append(
            f"the certificate is about float64 states; the pipeline rounds its own to "
            f"{family.module(pipe).dtype} in every step"
        )
    return settings, notes + family.notes(pipe, settings)
