"""``invlib seeds``: which seed a noise was drawn from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..noisefile import load_noise
from ..seeds import FRONT_ENDS, cuda, find_seed
from ..seeds.philox import THREADS
from .errors import NOT_EXACT, spelled
from .model import Dtype
from .report import show
from .ticker import say


class GeneratorName(StrEnum):
    """What ``--generator`` takes."""

    cpu = "torch-cpu"
    cuda = "torch-cuda"


def drawn_shape(text: str) -> tuple[int, ...]:
    """Channels, perhaps frames, height and width, as in ``16x128x128``."""
    sizes = text.split("x")
    if len(sizes) not in (3, 4) or not all(size.isdecimal() and int(size) for size in sizes):
        raise typer.BadParameter("give channels, height and width, such as 16x128x128")
    return tuple(map(int, sizes))


def seeds(
    noise: Annotated[Path, typer.Argument(help="noise file, of invlib invert")],
    first: Annotated[int, typer.Option(help="the first seed to try")] = 0,
    count: Annotated[int, typer.Option(min=1, help="how many seeds to try")] = 1_000_000,
    generator: Annotated[
        GeneratorName, typer.Option(help="; ".join(f"{k}: {v[0]}" for k, v in FRONT_ENDS.items()))
    ] = GeneratorName.cpu,
    batch: Annotated[
        int, typer.Option(min=1, help="pictures of one draw, of which this was one")
    ] = 1,
    drawn: Annotated[
        Any,
        typer.Option(
            parser=drawn_shape,
            metavar="CxHxW",
            help="what was drawn of a picture, such as 16x128x128, if the noise is packed",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=THREADS, help="threads of the CUDA device, for draws of more elements"),
    ] = None,
    correlation: Annotated[
        float, typer.Option(help="least correlation to find: 1 for an exact noise")
    ] = 0.5,
    seconds: Annotated[
        float | None, typer.Option(help="seconds after which the best so far is taken")
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="dtype that it was drawn in")] = Dtype.float32,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Say which seed a noise was drawn from, of millions.

    Exit code 0 means: a seed was found. Exit code 3 means: none of these, or it cannot be told.
    """
    if threads is not None and generator is not GeneratorName.cuda:
        raise ValueError("--threads are those of a CUDA device: give --generator torch-cuda too")
    latents = load_noise(noise).latents
    one = tuple(latents.shape[1:]) if drawn is None else drawn
    say(f"drawing the noise of {count} seeds")
    found = find_seed(
        latents,
        range(first, first + count),
        shape=(batch, *one) if batch > 1 or drawn is not None else None,
        dtype=getattr(torch, dtype.value),
        generator=cuda(threads) if threads is not None else generator.value,
        correlation=correlation,
        seconds=seconds,
        progress=False,
    )
    values: dict[str, Any] = {
        "answer": [spelled(found.sentence(i)) for i in range(len(latents))],
        "seed": list(found.seed),
        "score": found.score.tolist(),
        "correlation": found.correlation.tolist(),
        "chance": found.chance.tolist(),
        "tried": found.tried,
        "finalists": found.finalists,
    }
    show(values, as_json=as_json)
    if None in found.seed:
        raise typer.Exit(NOT_EXACT)
