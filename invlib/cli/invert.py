"""``invlib invert``: from a picture to a noise file."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..metrics import decibel
from ..noisefile import fingerprint, save_noise
from ..pipelines import ImageInversion, Options, invert_image, regenerate
from ..probing import NotInvertible
from ..watch import Budget
from .call import (
    CallOption,
    GuidanceOption,
    NegativeOption,
    PromptOption,
    StepsOption,
    unguided,
    with_prompt,
)
from .errors import NOT_EXACT
from .files import as_bytes, flat, free, read_picture
from .model import Dtype
from .opening import DeviceOption, DtypeOption, ModelOption, SchedulerOption, open_call
from .report import show

NO_PROMPT = (
    "no prompt given: the empty prompt was assumed, at guidance scale 1 unless one was given; the "
    "certificate cannot vouch for the original prompt"
)


class Method(StrEnum):
    """What ``--method`` takes."""

    exact = "exact"
    naive = "naive"
    algorithm1 = "algorithm1"
    algorithm2 = "algorithm2"
    persistent = "persistent"


class Decoder(StrEnum):
    """What ``--decoder`` takes."""

    encoder = "encoder"
    gradient = "gradient"
    gradient_free = "gradient_free"
    gauss_newton = "gauss_newton"
    quasi_newton = "quasi_newton"
    active_set = "active_set"


def invert(
    picture: Annotated[Path, typer.Argument(help="the picture, as the pipeline wrote it")],
    output: Annotated[Path, typer.Option("--output", "-o", help="noise file to write")],
    model: ModelOption = "portraits",
    call: CallOption = None,
    prompt: PromptOption = None,
    negative_prompt: NegativeOption = None,
    guidance_scale: GuidanceOption = None,
    steps: StepsOption = None,
    scheduler: SchedulerOption = None,
    method: Annotated[Method, typer.Option(help="how to invert the sampler")] = Method.exact,
    decoder: Annotated[
        Decoder, typer.Option(help="how to invert the decoder")
    ] = Decoder.quasi_newton,
    seconds: Annotated[
        float | None, typer.Option(help="seconds after which the best so far is taken")
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option(help="network evaluations after which the best so far is taken")
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option(min=1, help="most states in one call of the network")
    ] = None,
    dtype: DtypeOption = Dtype.float32,
    device: DeviceOption = "cpu",
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Find the noise that a picture was made from, and say how exact it is.

    Exit code 0 means: certified exact, and the stock pipeline makes the same picture from it.
    Exit code 3 means: the search ended, and the file was written, but that does not hold.
    """
    free(output, force=force, suffix=".safetensors")
    image, notes = read_picture(picture)
    opened, asked = open_call(
        model,
        call,
        scheduler=scheduler,
        dtype=dtype,
        device=device,
        prompt=prompt,
        negative_prompt=negative_prompt,
        guidance_scale=guidance_scale,
        steps=steps,
    )
    pipe = opened.pipe
    prompted = with_prompt(pipe, asked)
    if prompted != asked:
        notes.append(NO_PROMPT)
        asked = unguided(pipe, prompted)
    options = Options(
        method=method.value,
        decoder=decoder.value,
        progress=not as_json and sys.stderr.isatty(),
        budget=Budget(evaluations, seconds),
        max_batch=max_batch,
    )
    began = time.perf_counter()
    try:
        result = invert_image(pipe, image, options=options, **asked)
    except NotInvertible as error:
        raise ValueError(f"{error} (here: --scheduler DDIMScheduler)") from error
    result = replace(result, notes=(*notes, *result.notes))
    pixels = as_bytes([image])
    noise = save_noise(output, result, opened, pictures=fingerprint(pixels))
    again = as_bytes(flat(regenerate(pipe, result)))
    share = (again == pixels).double().mean().item()
    values = summary(result, share) | {
        "seconds": time.perf_counter() - began,
        "notes": list(result.notes),
        "model": f"{noise.model} {noise.model_hash[:12]}",
        "scheduler": noise.scheduler,
        "file": str(output),
    }
    show(values, as_json=as_json)
    if values["verdict"] != "exact":
        typer.echo(f"not certified exact: {values['verdict']}{_hint(values, method)}", err=True)
        raise typer.Exit(NOT_EXACT)


def _hint(values: dict[str, Any], method: Method) -> str:
    """What may help a search that did not converge."""
    reasons = {values["search"], values["decoder_search"]}
    if "interrupted" in reasons:
        return "; the search was interrupted"
    if "budget" in reasons:
        return "; the budget was spent: give more --evaluations or --seconds"
    if values["search"] != "converged" and method is Method.exact:
        return "; --method persistent searches longer, in float64"
    return ""


def summary(result: ImageInversion, share: float) -> dict[str, Any]:
    """The evidence about one picture; ``share`` of its values came back from the pipeline."""
    proof = result.certificate
    if proof is None:
        raise ValueError("the inversion has no certificate")
    verdict = proof.verdict[0]
    if verdict == "exact" and share < 1:
        verdict = "exact for the latents, not for the picture"
    decoding = result.decoding
    return {
        "verdict": verdict,
        "round_trip_db": decibel(proof.round_trip)[0].item(),
        "values_reproduced": share,
        "network_evaluations": int(result.inversion.nfe[0]),
        "evaluations_in_all": int(result.evaluations[0]),
        "decoder_evaluations": 0 if decoding is None else int(decoding.evaluations[0]),
        "search": result.inversion.reason[0],
        "decoder_search": "none" if decoding is None else decoding.reason[0],
        "flags": proof.flags[0] or "none",
    }
