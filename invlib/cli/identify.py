"""``invlib identify``: which of some prompts and settings made a picture, or none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..identification import Identification, identify
from ..identification.result import LEVEL
from ..pipelines import Options
from ..portraits.vocabulary import vocabulary
from ..watch import Budget
from .bundle import bundled
from .call import CallOption
from .errors import NOT_EXACT, spelled
from .files import read_pictures
from .invert import (
    Decoder,
    DecoderOption,
    EvaluationsOption,
    NumberOption,
    PictureArgument,
    SecondsOption,
)
from .model import check_words
from .opening import Asked, ModelOption, Sampler, Where, open_call
from .report import show, table
from .ticker import follow, say

COLUMNS = ("candidate", "rough", "log p", "+-", "probability", "norm")


@bundled
def identification(
    *,
    picture: PictureArgument,
    model: ModelOption = "portraits",
    call: CallOption = None,
    prompt: Annotated[list[str] | None, typer.Option(help="a prompt; repeat it")] = None,
    vocabulary_: Annotated[
        bool, typer.Option("--vocabulary", help="all prompts that portraits knows")
    ] = False,
    guidance_scale: Annotated[
        list[float] | None, typer.Option(help="a guidance scale; repeat it")
    ] = None,
    steps: Annotated[list[int] | None, typer.Option(help="a number of steps; repeat it")] = None,
    scheduler: Annotated[
        list[str] | None, typer.Option(help="a scheduler class of diffusers; repeat it")
    ] = None,
    finalists: Annotated[int, typer.Option(min=1, help="of how many the likelihood is exact")] = 3,
    decoder: DecoderOption = Decoder.quasi_newton,
    seconds: SecondsOption = None,
    evaluations: EvaluationsOption = None,
    max_batch: NumberOption = None,
    place: Where,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Say which of some prompts and settings made a picture, or that none of them did.

    From a picture, none of them means that this model's decoder makes no such picture, or that no
    noise of a finalist makes it; a call outside the lists is hardly noticed. Exit code 0 means:
    nothing speaks against the best. Exit code 3 means: none of these, or all ended early.
    """
    prompts = _prompts(prompt or [], vocabulary_=vocabulary_, model=model)
    frames, notes = read_pictures(Path(picture))
    opened, asked = open_call(Asked(model, call), Sampler(), place)
    check_words(opened, {"prompt": prompt or []})
    say("comparing the candidates")
    found = identify(
        opened.pipe,
        frames,
        prompts=prompts,
        guidance=guidance_scale or None,
        steps=steps or None,
        schedulers=scheduler or None,
        finalists=finalists,
        options=Options(
            decoder=decoder.value,
            progress=False,
            callback=follow,
            budget=Budget(evaluations, seconds),
            max_batch=max_batch,
        ),
        **asked,
    )
    if not as_json:
        typer.echo(table(rows(found), COLUMNS))
    values = summary(found) | {"notes": [*notes, *map(spelled, found.notes)]}
    show({k: v for k, v in values.items() if as_json or v is not None}, as_json=as_json)
    if found.best is None or found.ended:
        raise typer.Exit(NOT_EXACT)


def _prompts(prompts: list[str], *, vocabulary_: bool, model: str) -> Any:
    """The candidates for the prompt, or None."""
    if prompts and vocabulary_:
        raise ValueError("give --prompt or --vocabulary")
    if vocabulary_ and model != "portraits":
        raise ValueError("--vocabulary is that of the model portraits")
    return vocabulary() if vocabulary_ else prompts or None


def rows(found: Identification) -> list[dict[str, Any]]:
    """One row a candidate, the finalists first."""
    lines: list[dict[str, Any]] = []
    rough = dict(zip(found.candidates, found.rough, strict=True))
    posterior = [] if found.likelihoods is None else found.likelihoods.posterior[:, 0].tolist()
    for place, candidate in enumerate(found.finalists):
        assert found.likelihoods is not None
        one = found.likelihoods.candidates[place]
        lines.append(
            {
                "candidate": candidate.name,
                "rough": rough[candidate],
                "log p": one.log_p[0].item(),
                "+-": one.error[0].item(),
                "probability": posterior[place] if found.calibrated else None,
                "norm": one.scores.norm[0].item(),
            }
        )
    others = [c for c in found.candidates if c not in found.finalists]
    return lines + [{"candidate": c.name, "rough": rough[c]} for c in others]


def summary(found: Identification) -> dict[str, Any]:
    """What may be said, and what it rests on."""
    return {
        "answer": spelled(found.sentence()),
        "best": None if found.best is None else found.best.name,
        "probability": found.posterior if found.calibrated and len(found.finalists) > 1 else None,
        "misfit": found.misfit,
        "probability_of_such_noise": found.surprise,
        "level": LEVEL,
        "looked_at": len(found.candidates),
        "left_over": found.untried,
        "ended": found.ended,
        "evaluations": found.evaluations,
    }
