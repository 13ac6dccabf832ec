"""DiT and PixArt-alpha: transformers on latents that also predict variances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .family import Family, Prompts
from .network import join
from .pixels import check_own_size
from .settings import Settings, check_classes
from .stable_diffusion import from_the_first

NO_CLASS = 1000  # the label of no class, which DiTPipeline guides with


class DiT(Family):
    """DiTPipeline: class labels, and noise of its own."""

    network = "transformer"
    takes_noise = False

    def check_size(self, pipe: Any, height: int, width: int) -> None:
        """Only the network's own size can be made.

        Raises:
            ValueError: if it is another size.
        """
        size = pipe.transformer.config.sample_size * self.factor(pipe)
        check_own_size(pipe, size, height, width)

    def prompts(self, pipe: Any, prompt: Any, negative: Any, images: int) -> Prompts:
        """Class numbers, from numbers or names.

        Raises:
            TypeError: if they are neither.
            ValueError: if there are none, unknown ones, or negative ones.
        """
        if negative is not None:
            raise ValueError("DiTPipeline guides with no class: leave negative_prompt out")
        return check_classes(prompt, images, pipe.labels, NO_CLASS), None

    def tokenizers(self, pipe: Any) -> list[tuple[Any, int]]:
        """None."""
        return []

    def encode(self, pipe: Any, settings: Settings, guides: bool) -> dict[str, Any]:
        """Class labels."""
        labels = torch.tensor(settings.prompt, device=pipe._execution_device)
        none = torch.full_like(labels, NO_CLASS) if guides else None
        return {"class_labels": join(labels, none)}


class PixArt(Family):
    """PixArtAlphaPipeline: T5 embeddings with a mask; the large model is told the size, too."""

    network = "transformer"

    def tokenizers(self, pipe: Any) -> list[tuple[Any, int]]:
        """T5's; the pipeline cuts after 120 tokens."""
        return [(pipe.tokenizer, 120)]

    def encode(self, pipe: Any, settings: Settings, guides: bool) -> dict[str, Any]:
        """Prompt embeddings, their masks, and resolution and aspect ratio."""
        positive, mask, negative, negative_mask = pipe.encode_prompt(
            list(settings.prompt or ()),
            guides,
            negative_prompt=list(settings.negative_prompt or ("",) * len(settings.prompt or ())),
            device=pipe._execution_device,
            clean_caption=True,
            max_sequence_length=120,
        )
        embeddings = join(positive, negative)
        size: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if pipe.transformer.config.sample_size == 128:
            height, width = settings.height, settings.width
            size = {
                "resolution": embeddings.new_tensor([[height, width]]),
                "aspect_ratio": embeddings.new_tensor([[height / width]]),
            }
            size = {k: v.expand(len(embeddings), -1) for k, v in size.items() if v is not None}
        return {
            "encoder_hidden_states": embeddings,
            "encoder_attention_mask": join(mask, negative_mask),
            "added_cond_kwargs": size,
        }

    def set_timesteps(self, pipe: Any, settings: Settings) -> Callable[..., None]:
        """The loop counts its steps from the first.

        Raises:
            ValueError: if there is only one step, for which the pipeline returns something else.
        """
        if settings.num_inference_steps == 1:
            raise ValueError("PixArtAlphaPipeline with 1 step is no sampler: take 2 steps or more")
        return from_the_first

    def call(self, settings: Settings) -> dict[str, Any]:
        """The size as it is, without the pipeline's table of sizes."""
        return {**super().call(settings), "use_resolution_binning": False}

    def notes(self, pipe: Any, settings: Settings) -> list[str]:
        """Says so if the pipeline's table of sizes has no such size."""
        from diffusers.pipelines.pixart_alpha import pipeline_pixart_alpha as source

        name = {32: 256, 64: 512, 128: 1024}.get(pipe.transformer.config.sample_size)
        size = settings.height, settings.width
        if name is not None:
            table = getattr(source, f"ASPECT_RATIO_{name}_BIN")
            if pipe.image_processor.classify_height_width_bin(*size, ratios=table) == size:
                return []
        return ["the pipeline's table lacks this size: use_resolution_binning=False was assumed"]
