"""What calls of video and audio pipelines have in common, and a short way to say a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import diffusers
import torch

from .assembly import assemble
from .parts import WIDTH
from .recipe import Recipe
from .video_parts import PARTS, TOKENS, embeddings

STEPS = {"num_inference_steps": 6}
WORDS = {"prompt": "a red cat", "negative_prompt": "bad"}
EMBEDDINGS = {"prompt_embeds": embeddings(1), "negative_prompt_embeds": embeddings(2)}
PICTURE = {"height": 16, "width": 32}
VIDEO = {**PICTURE, "num_frames": 5}
SHORT = {"max_sequence_length": 8}
TEMPLATE = {"prompt_template": {"template": "a {}", "crop_start": 1}, **SHORT}
CLEANING = "The prompt is given as embeddings: the class cleans strings with ftfy."
SINGLE = "The class runs its steps in float32."

MASK = torch.ones(1, TOKENS, dtype=torch.long)
MASKED = {**EMBEDDINGS, "prompt_attention_mask": MASK, "negative_prompt_attention_mask": MASK}
GUIDED = {**STEPS, "guidance_scale": 5.0}


HUNYUAN15 = {
    **EMBEDDINGS,
    "prompt_embeds_2": embeddings(3),
    "negative_prompt_embeds_2": embeddings(4),
} | {f"{sign}prompt_embeds_mask{which}": MASK for sign in ("", "negative_") for which in ("", "_2")}
KANDINSKY = {
    "prompt_embeds_qwen": embeddings(1),
    "prompt_embeds_clip": embeddings(2)[:, 0],
    "negative_prompt_embeds_qwen": embeddings(3),
    "negative_prompt_embeds_clip": embeddings(4)[:, 0],
    "prompt_cu_seqlens": torch.tensor([0, TOKENS]),
    "negative_prompt_cu_seqlens": torch.tensor([0, TOKENS]),
}
LTX2 = {
    "height": 32,
    "width": 64,
    "num_frames": 9,
    "prompt_embeds": embeddings(1, width=2 * WIDTH),
    "negative_prompt_embeds": embeddings(2, width=2 * WIDTH),
    "prompt_attention_mask": MASK,
    "negative_prompt_attention_mask": MASK,
    "spatio_temporal_guidance_blocks": [0],
}
SOUND = {
    **STEPS,
    "prompt_embeds": embeddings(1),
    "encoder_attention_mask": MASK,
    "duration": 4.0,
}
SANA = {
    "negative_prompt": None,
    "height": 32,
    "width": 32,
    "frames": 5,
    "use_resolution_binning": False,
}
WORDLESS: dict[str, Any] = {"text_encoder": None, "tokenizer": None}
TEMPLATED = "The prompt is given as embeddings: the class writes it into a long template of a chat."
GEMMA = "The prompt is given as embeddings: the class writes it into a long instruction."
GUIDER = TEMPLATED + " Guidance, at 5, is a part of the pipeline, not of the call."


def recipe(
    pipeline: str,
    call: Mapping[str, Any],
    note: str = "",
    settings: Mapping[str, Any] = MappingProxyType({}),
    **parts: Callable[[], Any] | None,
) -> tuple[str, Recipe]:
    """Class and recipe: a pipeline of parts by their types, but for those made by ``parts``.

    A part that is None is absent; ``settings`` are attributes of the pipeline.
    """

    def make() -> Any:
        pipe = assemble(getattr(diffusers, pipeline), parts, PARTS)
        for name, value in settings.items():
            setattr(pipe, name, value)
        return pipe

    return pipeline, Recipe(make, call, note)
