"""``invlib demo``: the first thing to run; it needs no file and no download."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..watch import Watch, watching
from .errors import NOT_EXACT
from .opening import SeedOption
from .outputs import free, outputs
from .report import show
from .ticker import follow, say

if TYPE_CHECKING:
    from ..round_trip import RoundTrip


MOST_STEPS = 1000  # of the model's schedule


class Sampler(StrEnum):
    """What ``--sampler`` takes."""

    ddim = "ddim"
    dpm_2m = "2m"
    dpm_3m = "3m"


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="picture to write, a PNG")] = Path(
        "round_trip.png"
    ),
    prompt: Annotated[
        str | None, typer.Option(help="words of `invlib models --words`; default one unseen")
    ] = None,
    sampler: Annotated[Sampler, typer.Option(help="DDIM or a DPM-Solver++")] = Sampler.dpm_2m,
    steps: Annotated[int, typer.Option(min=1, help="number of steps")] = 10,
    guidance_scale: Annotated[float, typer.Option(help="guidance scale")] = 3.0,
    seed: SeedOption = 0,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Make a portrait, find its noise naively and exactly, and draw both round trips.

    Exit code 0 means: the exact one is certified. Exit code 3 means: the picture was drawn, but
    the noise that was found is not exact; that happens at a high guidance scale.
    """
    free(output, force=force, suffix=".png")
    if not (math.isfinite(guidance_scale) and guidance_scale >= 0):
        raise ValueError(f"--guidance-scale must be a finite number >= 0, got {guidance_scale}")
    from ..round_trip import Setting, caption, compare, draw, save  # matplotlib and diffusers

    if steps >= MOST_STEPS:
        raise ValueError(
            f"--steps must be less than {MOST_STEPS}, the times of the schedule, got {steps}"
        )
    setting = Setting(sampler=sampler.value, steps=steps, guidance=guidance_scale, seed=seed)
    if prompt is not None:
        setting = replace(setting, prompt=prompt)
    say("making the portrait, and inverting it naively and exactly")
    with watching(Watch(callback=follow)):
        shown = compare(setting)
    with outputs(output, force=force) as made:
        save(draw(shown), caption(shown), made.parts[0])
    about = {"prompt": setting.prompt, "setting": str(setting)}
    found = {name: (_facts if as_json else _words)(trip) for name, trip in shown.trips.items()}
    show(about | found | {"picture": str(made.files[0])}, as_json=as_json)
    verdict = shown.trips["exact"].certificate.verdict[0]
    if verdict != "exact":
        typer.echo(f"not certified exact: {verdict}; try a lower --guidance-scale", err=True)
        raise typer.Exit(NOT_EXACT)


def _words(trip: RoundTrip) -> list[str]:
    from ..round_trip import share

    return [
        str(trip.certificate),
        f"{share(trip.same)} of the 8-bit values come back; the noise is off by "
        f"{trip.noise_error_db:.0f} dB",
        f"{trip.evaluations} evaluations of the network, {trip.seconds:.1f} s",
    ]


def _facts(trip: RoundTrip) -> dict[str, Any]:
    return {
        "certificate": str(trip.certificate),
        "error_of_the_latents_db": trip.error_db,
        "error_of_the_noise_db": trip.noise_error_db,
        "values_reproduced": trip.same,
        "network_evaluations": trip.evaluations,
        "seconds": trip.seconds,
    }
