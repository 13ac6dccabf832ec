"""The options that say which model is called and how, and the model and call that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..identity import Model
from .call import asked_call
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


def open_call(
    model: str,
    call: Path | None,
    *,
    scheduler: str | None,
    dtype: Dtype,
    device: str,
    **given: Any,
) -> tuple[Model, dict[str, Any]]:
    """The model, with its scheduler, and the arguments of its call.

    Args:
        model: of ``--model``.
        call: of ``--call``.
        scheduler: of ``--scheduler``.
        dtype: of ``--dtype``.
        device: of ``--device``.
        given: the options that stand for arguments of the call (:func:`.call.asked_call`).

    Raises:
        ValueError: if there is no such model, scheduler, device or argument.
        OSError: if a file is missing or damaged.
    """
    say("loading the model")
    opened = open_model(model, dtype=dtype, device=device)
    use_scheduler(opened, scheduler)
    asked = asked_call(opened.pipe, call, **given)
    check_words(opened, asked)
    return opened, asked
