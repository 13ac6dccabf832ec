"""``invlib invert``: from a picture to a noise file."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..metrics import decibel
from ..noisefile import save_noise
from ..pipelines import ImageInversion, Options, invert_image
from ..pipelines.batches import check_batch
from ..pipelines.options import MaxBatch
from ..pipelines.sentence import COMMAND_LINE, sentences, to_do, verdict
from ..watch import Budget
from .bundle import bundled
from .call import unguided, with_prompt
from .errors import NOT_EXACT
from .files import read_pictures
from .opening import Asked, Sampler, Where, open_call
from .outputs import free, outputs
from .report import show
from .ticker import follow, say

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


PictureArgument = Annotated[
    Path,
    typer.Argument(
        help="the picture, as the pipeline wrote it; a clip as an animated PNG or a folder"
    ),
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="noise file to write")]
MethodOption = Annotated[Method, typer.Option(help="how to invert the sampler")]
DecoderOption = Annotated[Decoder, typer.Option(help="how to invert the decoder")]
SecondsOption = Annotated[
    float | None, typer.Option(help="seconds after which the best so far is taken")
]
EvaluationsOption = Annotated[
    int | None, typer.Option(help="network evaluations after which the best so far is taken")
]


def batch(text: str) -> MaxBatch:
    """A number of states, or ``fastest``."""
    most: Any = int(text) if text.isdecimal() else text
    try:
        check_batch(most)
    except ValueError as error:
        raise typer.BadParameter("give a number from 1 on, or fastest") from error
    return most


BatchOption = Annotated[
    Any,
    typer.Option(
        parser=batch,
        metavar="<number|fastest>",
        help="most states in one call of the network; fastest measures it first",
    ),
]
NumberOption = Annotated[
    int | None, typer.Option(min=1, help="most states in one call of the network")
]
OthersOption = Annotated[
    int, typer.Option(min=0, help="searches from other starts: is there another noise?")
]


@bundled
def invert(
    *,
    picture: PictureArgument,
    output: OutputOption,
    what: Asked,
    sampler: Sampler,
    method: MethodOption = Method.exact,
    decoder: DecoderOption = Decoder.quasi_newton,
    seconds: SecondsOption = None,
    evaluations: EvaluationsOption = None,
    max_batch: BatchOption = None,
    others: OthersOption = 0,
    place: Where,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Find the noise that a picture or clip was made from, and say how exact it is.

    Exit code 0 means: certified exact, and the stock pipeline makes the same picture from it.
    Exit code 3 means: the search ended, and the file was written, but that does not hold.
    """
    free(output, force=force, suffix=".safetensors")
    frames, notes = read_pictures(picture)
    opened, asked = open_call(what, sampler, place)
    pipe = opened.pipe
    asked, assumed = _with_some_prompt(pipe, asked)
    options = Options(
        method=method.value,
        decoder=decoder.value,
        progress=False,
        callback=follow,
        budget=Budget(evaluations, seconds),
        max_batch=max_batch,
        others=others,
    )
    began = time.perf_counter()
    result = _searched(pipe, frames, options, asked, [*notes, *assumed])
    with outputs(output, force=force) as made:
        noise = save_noise(made.parts[0], result, opened)
    values = summary(result) | {
        "seconds": time.perf_counter() - began,
        "notes": list(result.notes),
        "model": f"{noise.model} {noise.model_hash[:12]}",
        "scheduler": noise.scheduler,
        "file": str(made.files[0]),
    }
    show(values, as_json=as_json)
    if values["verdict"] != "exact":
        typer.echo(f"not certified exact: {values['verdict']}{_hint(result)}", err=True)
        raise typer.Exit(NOT_EXACT)


def _with_some_prompt(pipe: Any, asked: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The call with the empty prompt where it has none, and a note if that was so."""
    prompted = with_prompt(pipe, asked)
    return (asked, []) if prompted == asked else (unguided(pipe, prompted), [NO_PROMPT])


def _searched(
    pipe: Any, frames: Any, options: Options, asked: dict[str, Any], notes: Sequence[str]
) -> ImageInversion:
    """What the search finds, after some notes."""
    say("reading the pipeline")
    result = invert_image(pipe, frames, options=options, **asked)
    say("writing the file")
    return replace(result, notes=(*notes, *result.notes))


def _hint(result: ImageInversion) -> str:
    """What may help the first of the samples that have the verdict, as an addition to it."""
    rows = range(len(result.inversion.noise))
    first = min(rows, key=lambda row: verdict(result, row) != result.verdict)
    advice = to_do(result, first, COMMAND_LINE)
    return f"; {advice}" if advice else ""


def _worst(result: ImageInversion) -> int:
    """The sample with the largest error."""
    if result.certificate is None:
        raise ValueError("the inversion has no certificate")
    return int(result.certificate.round_trip.nan_to_num(nan=torch.inf).argmax())


def summary(result: ImageInversion) -> dict[str, Any]:
    """The evidence about one picture or clip.

    Where the frames of a clip are samples of their own, the worst of them counts.
    """
    proof, worst = result.certificate, _worst(result)
    assert proof is not None
    seen, decoding = result.picture, result.decoding
    known = None if seen is None or seen.reason else seen
    return {
        "verdict": result.verdict,
        "that_is": sentences(result, COMMAND_LINE).splitlines(),
        "round_trip_db": decibel(proof.round_trip)[worst].item(),
        "values_reproduced": math.nan if known is None else known.share,
        "largest_gap": None if known is None else int(known.gap.max()),
        "network_evaluations": int(result.inversion.nfe.max()),
        "evaluations_in_all": int(result.evaluations.max()),
        "decoder_evaluations": 0 if decoding is None else int(decoding.evaluations.max()),
        "search": result.inversion.reason[worst],
        "decoder_search": "none" if decoding is None else _each(decoding.reason),
        "noise": _each(proof.uniqueness),
        "flags": _each(proof.flags) or "none",
    }


def _each(texts: Sequence[str]) -> str:
    """All that is said of several samples, each once."""
    return ", ".join(dict.fromkeys(text for text in texts if text))
