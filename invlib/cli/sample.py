"""``invlib sample``: a picture to invert, and on request the noise that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from ..noisefile import describe, fingerprint, write_noise
from ..pipelines import Reading, read, regenerate
from ..pipelines.first_state import first_state
from ..pipelines.options import defaults, refuse, split
from ..pipelines.recording import one_copy
from ..pipelines.running import untouched
from ..pipelines.steps import few_enough_steps
from .bundle import bundled
from .call import with_prompt
from .files import as_bytes, flat
from .opening import Asked, Sampler, Where, open_call
from .outputs import free, outputs
from .report import described, show
from .ticker import counting

OwnSeed = Annotated[
    int | None, typer.Option(min=0, max=2**64 - 1, help="seed of the noise; default 0")
]


@bundled
def sample(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="picture to write, a PNG")],
    what: Asked,
    sampler: Sampler,
    seed: OwnSeed = None,
    noise: Annotated[Path | None, typer.Option(help="noise file to write as well")] = None,
    place: Where,
    force: Annotated[bool, typer.Option("--force", help="replace existing files")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Make a picture with the stock pipeline.

    The prompt is the empty one unless one is given; what else is not given is the pipeline's own.
    """
    free(output, force=force, suffix=".png")
    if noise is not None:
        free(noise, force=force, suffix=".safetensors")
    opened, given = open_call(what, sampler, place)
    pipe = opened.pipe
    own, asked = split(pipe, None, with_prompt(pipe, given))
    refuse(own, (), "--call of sample")
    with counting(pipe, "sampling"), few_enough_steps(pipe, asked):
        with torch.no_grad(), untouched(pipe):
            reading = read(pipe, asked)  # refuses what could not be inverted
        used = seed_of(reading, seed)
        latents = draw(reading, used)
        pictures = flat(regenerate(pipe, latents, asked, entrance=reading.entrance))
    if len(pictures) != 1:
        raise ValueError(f"the call makes {len(pictures)} pictures; sample writes one at a time")
    files = [output] if noise is None else [output, noise]
    with outputs(*files, force=force) as made:
        pictures[0].save(made.parts[0], format="PNG")
        if noise is not None:
            marks = fingerprint(as_bytes(pictures))
            known = describe(
                latents, asked, opened, entrance=reading.entrance, pictures=marks, reproduced=True
            )
            write_noise(made.parts[1], known)
    values: dict[str, Any] = {
        "file": str(made.files[0]),
        "noise": None if noise is None else str(made.files[1]),
        "model": f"{opened.name} {opened.hash[:12]}",
        "scheduler": type(pipe.scheduler).__name__,
        "steps": defaults(pipe, asked).get("num_inference_steps"),
        "guidance_scale": defaults(pipe, asked).get("guidance_scale"),
        "call": described(asked),
        "seed": used,
    }
    show({k: v for k, v in values.items() if v is not None}, as_json=as_json)


def seed_of(reading: Reading, seed: int | None) -> int | None:
    """The seed that counts; None where the call's own generator draws what it begins with.

    Raises:
        ValueError: if a seed is given beside that generator.
    """
    if reading.stage.call.get("generator") is None:
        return seed or 0
    if seed is not None:
        raise ValueError(
            "the generator in --call draws what this call begins with: leave out --seed, or the "
            "generator"
        )
    return None


def draw(reading: Reading, seed: int | None) -> Tensor:
    """The noise of a seed in the layout that the call takes, the same on all devices.

    Where a call takes no noise, or has a generator of its own, it is what becomes the first state
    that the pipeline makes itself.
    """
    entrance, stage = reading.entrance, reading.stage
    if seed is None or not reading.takes_noise:
        state = first_state(stage.pipe, stage.call, seed=seed or 0)
        return entrance.noise(one_copy(state, stage.recording.copies)).to(state)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(entrance.map.in_shape, generator=generator)
    return noise.to(stage.pipe._execution_device, entrance.dtype)
