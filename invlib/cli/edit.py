"""``invlib edit``: from a picture to one in which a new prompt changes what a mask allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..editing import ImageEdit, edit_image
from ..watch import Budget
from .bundle import bundled
from .call import with_prompt
from .errors import NOT_EXACT, spelled
from .files import read_one, read_picture
from .invert import NO_PROMPT, BatchOption, Decoder, Method, MethodOption, SecondsOption
from .model import check_words
from .opening import Asked, Sampler, Where, open_call
from .outputs import different, free, write_pictures
from .report import show
from .ticker import follow, say

PictureArgument = Annotated[Path, typer.Argument(help="the 8-bit picture")]
ToOption = Annotated[str, typer.Option("--to", help="the new prompt")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="PNG to write")]
MaskOption = Annotated[
    Path | None, typer.Option(help="picture that is white where the edit is allowed")
]
WordsOption = Annotated[
    str | None, typer.Option(help="words of the prompt: edit where the network looks at them")
]
OverlayOption = Annotated[
    Path | None, typer.Option(help="PNG to write, with the mask over the picture")
]
StrengthOption = Annotated[
    float | None, typer.Option(help="guidance scale of the new prompt; default that of the old one")
]
StartOption = Annotated[int, typer.Option(min=0, help="first step with the new prompt")]
FeatherOption = Annotated[
    int, typer.Option(min=0, help="pixels inside the mask over which the seam is closed")
]
GrowOption = Annotated[
    int, typer.Option(min=0, help="pixels by which a mask that is found is made larger")
]
ThresholdOption = Annotated[
    float | None, typer.Option(help="value from which a mask that is found is set; default Otsu's")
]
DecoderOption = Annotated[
    Decoder | None,
    typer.Option(help="how to invert the decoder; default the likeliest latents"),
]


@bundled
def edit(
    *,
    picture: PictureArgument,
    to: ToOption,
    output: OutputOption,
    mask: MaskOption = None,
    words: WordsOption = None,
    overlay: OverlayOption = None,
    what: Asked,
    new_guidance: StrengthOption = None,
    start: StartOption = 0,
    feather: FeatherOption = 4,
    grow: GrowOption = 1,
    threshold: ThresholdOption = None,
    sampler: Sampler,
    method: MethodOption = Method.exact,
    decoder: DecoderOption = None,
    seconds: SecondsOption = None,
    max_batch: BatchOption = None,
    place: Where,
    force: Annotated[bool, typer.Option("--force", help="replace existing files")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Change what a new prompt says; outside a mask every value of the picture stays.

    Without --mask and --words the mask is where the two prompts paint differently. For a picture
    that no model made leave --guidance-scale out: it is inverted at 1.

    Exit code 3 means: the picture was written, but its noise is not certified exact.
    """
    _check(output, mask, words, overlay, force=force)
    given, notes = read_one(picture)
    opened, asked = open_call(what, sampler, place)
    check_words(opened, {"prompt": to})
    options: dict[str, Any] = dict(  # a decoder counts as given even if it is the usual one
        method=method.value,
        progress=False,
        callback=follow,
        budget=Budget(None, seconds),
        max_batch=max_batch,
        guidance=new_guidance,
        start=start,
        feather=feather,
        grow=grow,
        threshold=threshold,
    )
    if decoder is not None:
        options["decoder"] = decoder.value
    where = words if mask is None else read_picture(mask)
    say("reading the pipeline")
    prompted = with_prompt(opened.pipe, asked)
    notes += [] if prompted == asked else [NO_PROMPT]
    done = edit_image(opened.pipe, given, where, to, options=options, **prompted)
    done = replace(done, notes=(*notes, *done.notes))
    names = [output] if overlay is None else [output, overlay]
    drawn = [done.picture] if overlay is None else [done.picture, done.overlay()]
    files = write_pictures(names, drawn, force=force)
    show(summary(done) | {"file": str(files[0])}, as_json=as_json)
    _judged(done)


def _check(
    output: Path, mask: Path | None, words: str | None, overlay: Path | None, *, force: bool
) -> None:
    """What is wrong with the options alone."""
    if mask is not None and words is not None:
        raise ValueError("give --mask or --words, not both")
    for file in (output, *([] if overlay is None else [overlay])):
        free(file, force=force, suffix=".png")
    different(output, overlay)


def _judged(done: ImageEdit) -> None:
    """End with the exit code of what is not exact, and say so."""
    proof = done.inversion.certificate
    if proof is None or proof.verdict[0] != "exact":
        verdict = "not judged" if proof is None else proof.verdict[0]
        typer.echo(f"the noise is not certified exact: {verdict}", err=True)
        raise typer.Exit(NOT_EXACT)


def summary(done: ImageEdit) -> dict[str, Any]:
    """What one edit did."""
    return {
        "edit": str(done),
        "mask_found_by": done.found_by,
        "mask_share": done.mask.double().mean().item(),
        "values_kept_outside": done.kept.item(),
        "border_levels": done.border.item(),
        "notes": [spelled(note) for note in done.notes],
    }
