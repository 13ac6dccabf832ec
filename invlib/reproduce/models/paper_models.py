"""The models and prompts of the full-size profiles, as they lie on this machine.

:mod:`.fetching` brings them here, and :mod:`.checking` says before whether it can. Rehearsals have
run all of this on random weights in the same files; the real ones cannot be fetched where this was
written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .full_size import CLASS, full_size, rehearsed
from .imagenet64 import ImageNet64, build
from .places import PROMPTS, needed, pixel_source, sources, text_source

DEVICE = "INVLIB_DEVICE"  # environment variable: where the networks are to be


def device(profile: str) -> str:
    """Where the networks of a full-size profile are; only rehearsals take the CPU by themselves."""
    chosen = os.environ.get(DEVICE)
    if chosen:
        return chosen
    return "cpu" if rehearsed(profile) and not torch.cuda.is_available() else "cuda"


@cache
def pipeline(profile: str) -> Any:
    """The pipeline of a full-size profile, in float32 on its device.

    Raises:
        ValueError: if its parts are not those of that model.
    """
    import diffusers

    model, folder = full_size(profile), needed(text_source(profile))
    kind = getattr(diffusers, model.pipeline)
    pipe = kind.from_pretrained(
        folder, torch_dtype=torch.float32, local_files_only=True, **unchecked(model.pipeline)
    )
    unlike(pipe, model.structure)
    if not rehearsed(profile):
        unlike(pipe, model.widths)
    pipe = pipe.to(device(profile))
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def unchecked(kind: str) -> dict[str, Any]:
    """What keeps a pipeline from judging its own pictures."""
    if kind != "StableDiffusionPipeline":
        return {}
    return {"safety_checker": None, "requires_safety_checker": False}


def unlike(pipe: Any, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare configurations of a pipeline's parts with those of the model.

    Raises:
        ValueError: naming the first entry that differs.
    """
    for part, entries in parts.items():
        module = getattr(pipe, part)
        for name, wanted in entries.items():
            own = name == CLASS
            found = type(module).__name__ if own else getattr(module.config, name, None)
            if found != wanted:
                raise ValueError(
                    f"this is another model: {part} has {name} {found!r} and not {wanted!r}; "
                    "name the right one in the environment variable, or unset that"
                )


@cache
def prompts(profile: str, count: int) -> list[str]:
    """The first prompts of the test split of ``Gustavosta/Stable-Diffusion-Prompts``."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError("the prompts need: pip install 'invlib[paper]'") from error

    [source] = [source for source in sources(profile) if source.places == (PROMPTS,)]
    table = load_dataset(str(needed(source)), split="test")
    return list(table["Prompt"][:count])


@cache
def pixel_network(profile: str) -> ImageNet64:
    """The ImageNet64 network, in float32 on the device of a profile."""
    state: Mapping[str, Tensor] = torch.load(
        needed(pixel_source()), map_location="cpu", weights_only=True
    )
    return ImageNet64(build(state).to(device(profile)))
