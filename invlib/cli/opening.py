"""The options that say which model is called and how, and the model and call that they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ..identity import Model
from .call import (
    CallOption,
    GuidanceOption,
    NegativeOption,
    PromptOption,
    StepsOption,
    asked_call,
)
from .model import Dtype, check_words, open_model, use_scheduler
from .ticker import say

ModelOption = Annotated[
    str, typer.Option(help="portraits, portraits-pixel, or the folder of a pipeline")
]
SchedulerOption = Annotated[
    str | None, typer.Option(help="scheduler class of diffusers; default the model's own")
]
DtypeOption = Annotated[Dtype, typer.Option(help="dtype of the networks")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**64 - 1, help="seed of the noise")]
DeviceOption = Annotated[str, typer.Option(help="where to run")]


@dataclass(frozen=True)
class Asked:
    """Which model is called, and what it is asked for; a bundle of options."""

    model: ModelOption = "portraits"
    call: CallOption = None
    prompt: PromptOption = None
    negative_prompt: NegativeOption = None
    guidance_scale: GuidanceOption = None


@dataclass(frozen=True)
class Sampler:
    """How it samples; a bundle of options."""

    steps: StepsOption = None
    scheduler: SchedulerOption = None


@dataclass(frozen=True)
class Where:
    """In what dtype, and on which device; a bundle of options."""

    dtype: DtypeOption = Dtype.float32
    device: DeviceOption = "cpu"


def open_call(asked: Asked, sampler: Sampler, where: Where) -> tuple[Model, dict[str, Any]]:
    """The model, with its scheduler, and the arguments of its call.

    Raises:
        ValueError: if there is no such model, scheduler, device or argument.
        OSError: if a file is missing or damaged.
    """
    say("loading the model")
    opened = open_model(asked.model, dtype=where.dtype, device=where.device)
    use_scheduler(opened, sampler.scheduler)
    call = asked_call(
        opened.pipe,
        asked.call,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        guidance_scale=asked.guidance_scale,
        steps=sampler.steps,
    )
    check_words(opened, call)
    return opened, call
