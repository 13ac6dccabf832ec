"""Load the embedded models; every file is checked against its SHA-256."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..checked import check, write_sums
from ..denoisers import Guided
from ..pipelines import text_denoiser
from .prompts import unknown_words

WEIGHTS = Path(__file__).parent / "weights"
MODELS = ("portraits", "portraits-pixel")


def load(name: str) -> Any:
    """An embedded model as a diffusers pipeline, offline, in float32 on the CPU.

    Args:
        name: ``portraits`` (text to 64 x 64 pictures, a StableDiffusionPipeline) or
            ``portraits-pixel`` (unconditional 32 x 32 pixels, a DDPMPipeline).

    Raises:
        ValueError: if the name is unknown.
        FileNotFoundError: if weights are missing.
        OSError: if a file is not the one that was published.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; use one of {', '.join(MODELS)}")
    verify(name)
    with quiet():
        from diffusers import DDPMPipeline, StableDiffusionPipeline

        options = {"torch_dtype": torch.float32, "local_files_only": True}
        if name == "portraits-pixel":
            pipe = DDPMPipeline.from_pretrained(WEIGHTS / name, **options)
        else:
            pipe = StableDiffusionPipeline.from_pretrained(
                WEIGHTS / name, safety_checker=None, requires_safety_checker=False, **options
            )
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    convolutional = pipe.unet if name == "portraits-pixel" else pipe.vae
    convolutional.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    pipe.set_progress_bar_config(disable=True)
    return pipe


def portraits_denoiser(pipe: Any, prompts: Sequence[str], guidance_scale: float) -> Guided:
    """The guided denoiser of the portraits model, one prompt a row.

    Raises:
        ValueError: if a prompt has a word that the model was never taught.
    """
    for prompt in prompts:
        unknown = unknown_words(prompt)
        if unknown:
            raise ValueError(
                f"the portraits model does not know {', '.join(map(repr, unknown))}; "
                "see invlib.portraits.words() for the words it knows"
            )
    return text_denoiser(pipe, prompts, guidance_scale)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and notices about optional packages while a pipeline loads."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    loggers = (diffusers_logging, transformers_logging)
    levels = [logger.get_verbosity() for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for logger in loggers:
            logger.set_verbosity_error()
            logger.disable_progress_bar()
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.set_verbosity(level)
                logger.enable_progress_bar()


@cache
def verify(name: str) -> str:
    """Check all files of a model; return the hash of the model."""
    return check(WEIGHTS, f"{name}/")


def write_manifest() -> None:
    """Write the SHA-256 of every file of every model."""
    files = [f for m in MODELS for f in (WEIGHTS / m).rglob("*") if f.is_file()]
    write_sums(WEIGHTS, files)
