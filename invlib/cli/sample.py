"""``invlib sample``: a picture to invert, and on request the noise that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from ..noisefile import describe, fingerprint, write_noise
from ..pipelines import Settings, regenerate
from ..pipelines.families import family_of
from ..pipelines.settings import check_steps
from .files import as_bytes, free, write_picture
from .model import Dtype, check_words, open_model, use_scheduler
from .report import counting, show


def sample(
    output: Annotated[Path, typer.Option("--output", "-o", help="picture to write, a PNG")],
    model: Annotated[
        str, typer.Option(help="portraits, portraits-pixel, or the folder of a UNet pipeline")
    ] = "portraits",
    prompt: Annotated[str | None, typer.Option(help="prompt; default the empty one")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="negative prompt")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="default the pipeline's")] = None,
    steps: Annotated[int, typer.Option(help="number of steps")] = 50,
    scheduler: Annotated[
        str | None, typer.Option(help="scheduler class of diffusers; default the model's own")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the noise")] = 0,
    noise: Annotated[Path | None, typer.Option(help="noise file to write as well")] = None,
    dtype: Annotated[Dtype, typer.Option(help="dtype of the networks")] = Dtype.float32,
    device: Annotated[str, typer.Option(help="where to run")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="replace existing files")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Make a picture with the stock pipeline."""
    free(output, force=force, suffix=".png")
    if noise is not None:
        free(noise, force=force, suffix=".safetensors")
    opened = open_model(model, dtype=dtype, device=device)
    use_scheduler(opened, scheduler)
    check_words(opened, [prompt, negative_prompt])
    pipe, family = opened.pipe, family_of(opened.pipe)
    if family.network != "unet":
        raise ValueError(f"sample draws noise for UNets; {type(pipe).__name__} has none")
    prompts, negatives = family.prompts(pipe, prompt, negative_prompt, 1)
    edge, channels = pipe.unet.config.sample_size, pipe.unet.config.in_channels
    settings = Settings(
        pipeline=type(pipe).__name__,
        prompt=prompts,
        negative_prompt=negatives,
        guidance_scale=family.scale(pipe, guidance_scale),
        num_inference_steps=check_steps(steps),
        height=edge * family.factor(pipe),
        width=edge * family.factor(pipe),
    )
    family.solver(pipe, settings)  # refuses what could not be inverted
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, channels, edge, edge, generator=generator).to(pipe.device, pipe.dtype)
    with counting(family.module(pipe), "sampling", quiet=as_json):
        pictures = regenerate(pipe, latents, settings)
    write_picture(output, pictures[0])
    if noise is not None:
        marks = fingerprint(as_bytes(pictures))
        write_noise(noise, describe(latents, settings, opened, pictures=marks))
    values = {
        "file": str(output),
        "noise": None if noise is None else str(noise),
        "model": f"{opened.name} {opened.hash[:12]}",
        "scheduler": type(pipe.scheduler).__name__,
        "steps": steps,
        "prompt": prompt,
        "guidance_scale": settings.guidance_scale,
        "seed": seed,
    }
    show({k: v for k, v in values.items() if v is not None}, as_json=as_json)
