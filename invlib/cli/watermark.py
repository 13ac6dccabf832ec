"""``invlib watermark embed`` and ``invlib watermark identify``: keys into pictures, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL.Image import Image
from torch import Tensor

from ..noisefile import describe, fingerprint, write_noise
from ..pipelines import regenerate
from ..pipelines.entrance import Entrance
from ..watermark import PASSAGES, ErrorModel, Identification, MessageKey, Messages
from ..watermark.identify_picture import PICTURES, USUAL, identify_in, measure_errors, written
from ..watermark.ratios import Key
from ..watermark.same_call import unsaid
from ..watermark.scene import scene
from ..watermark.unlisted import CHANGED
from .bundle import bundled
from .call import with_prompt
from .errors import NOT_EXACT
from .files import as_bytes, flat, read_pictures
from .invert import NumberOption
from .keys import made, read_keys
from .opening import Asked, Sampler, SeedOption, Where, open_call
from .outputs import free, outputs
from .report import show
from .ticker import counting, ticked

KeysOption = Annotated[Path, typer.Option(help="JSON file with the keys, by their owners' names")]
ForceOption = Annotated[bool, typer.Option("--force", help="replace existing files")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]
app = typer.Typer(
    no_args_is_help=True, help="Write keys into pictures, and ask whose a picture is."
)


@app.command()
@ticked
@bundled
def embed(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="picture to write, a PNG")],
    keys: KeysOption,
    owner: Annotated[str, typer.Option(help="whose key: a name in --keys")],
    message: Annotated[str | None, typer.Option(help="text, for a key of kind message")] = None,
    what: Asked,
    sampler: Sampler,
    seed: SeedOption = 0,
    noise: Annotated[Path | None, typer.Option(help="noise file to write as well")] = None,
    place: Where,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a picture whose noise holds a key."""
    free(output, force=force, suffix=".png")
    if noise is not None:
        free(noise, force=force, suffix=".safetensors")
    told = read_keys(keys)
    if owner not in told:
        raise ValueError(f"--owner {owner!r} has no key in {keys}; it has {', '.join(told)}")
    _check_message(told[owner]["kind"], message)
    opened, given = open_call(what, sampler, place)
    pipe, asked = opened.pipe, with_prompt(opened.pipe, given)
    with counting(pipe, "making the picture"):
        entrance, latents, pictures = _marked(pipe, asked, {owner: told[owner]}, seed, message)
    if len(pictures) != 1:
        raise ValueError(f"the call makes {len(pictures)} pictures; embed writes one at a time")
    files = [output] if noise is None else [output, noise]
    with outputs(*files, force=force) as done:
        pictures[0].save(done.parts[0], format="PNG")
        if noise is not None:
            marks = fingerprint(as_bytes(pictures))
            known = describe(
                latents, asked, opened, entrance=entrance, pictures=marks, reproduced=True
            )
            write_noise(done.parts[1], known)
    show({"file": str(done.files[0]), "owner": owner, "seed": seed}, as_json=as_json)


def _check_message(kind: str, message: str | None) -> None:
    """Refuse a message for a key that holds none, and such a key without its message."""
    if (kind == "message") != (message is not None):
        raise ValueError(
            f"this key is of kind {kind}, which holds no --message; use one of kind message"
            if message is not None
            else "this key is of kind message: give the --message that it is to hold"
        )


def _marked(
    pipe: Any, asked: dict[str, Any], told: dict[str, Any], seed: int, message: str | None
) -> tuple[Entrance, Tensor, list[Image]]:
    """How noise gets in, one that holds a key, and what the call makes of it."""
    with scene(pipe, None, asked) as read:
        (key,) = made(told, read.planes.shape[1:]).values()
        latents = written(read, [_holding(key, message)], seed)
        entrance = read.reading.entrance
    return entrance, latents, flat(regenerate(pipe, latents, asked, entrance=entrance))


def _holding(key: Key, message: str | None) -> Key:
    """The key, with the message of ``--message`` in it if it is one for messages."""
    if not isinstance(key, MessageKey) or message is None:
        return key
    try:
        return key.holding(message)
    except ValueError as error:
        raise ValueError(f"--message: {error}") from error


@app.command()
@ticked
@bundled
def identify(
    *,
    picture: Annotated[Path, typer.Argument(help="the picture")],
    keys: KeysOption,
    what: Asked,
    sampler: Sampler,
    errors: Annotated[
        Path | None,
        typer.Option(help="measured errors: read if the file is there, else measured and written"),
    ] = None,
    passages: Annotated[
        str | None,
        typer.Option(
            help=f"what may have happened, with commas: {', '.join(PASSAGES)}; default "
            f"{','.join(USUAL)}, or those of --errors"
        ),
    ] = None,
    pictures: Annotated[
        int | None,
        typer.Option(min=4, help=f"pictures made to measure errors; default {PICTURES}"),
    ] = None,
    realign: Annotated[
        bool | None,
        typer.Option(
            help="look for the place of a crop; default: if the picture's size is another"
        ),
    ] = None,
    max_batch: NumberOption = None,
    none: Annotated[float, typer.Option(help="probability of no key, before looking")] = 0.5,
    sure: Annotated[float, typer.Option(help="probability from which to decide")] = 0.9,
    place: Where,
    as_json: JsonOption = False,
) -> None:
    """Say whose key a picture holds, with what message, and how sure that is.

    Exit code 0 means: a key, or none, is certain enough. Exit code 3 means: it cannot be told.
    """
    _check_probabilities(none=none, sure=sure)
    frames, notes = read_pictures(picture)
    told = read_keys(keys)
    names = None if passages is None else _check_passages(passages)
    stored = _stored(errors, names, pictures)
    if errors is not None and stored is None:
        free(errors, force=False, suffix=".safetensors")
    opened, given = open_call(what, sampler, place)
    pipe, asked = opened.pipe, with_prompt(opened.pipe, given)
    own = {"max_batch": max_batch}
    with scene(pipe, own, asked) as read:
        made(told, read.planes.shape[1:])  # before errors are measured, not after
        if (count := read.planes.shape[0]) != 1:
            raise ValueError(f"the call makes {count} pictures; identify looks at one at a time")
    with counting(pipe, "measuring errors"):
        how = {"options": own, "passages": names or USUAL, "pictures": pictures or PICTURES}
        measured = stored or _measured(pipe, {**asked, **how}, errors)
    with counting(pipe, "inverting the picture"), scene(pipe, own, asked) as read:
        whose = made(told, read.planes.shape[1:])
        found = identify_in(read, frames, whose, measured, none=none, sure=sure, realign=realign)
    notes = [*notes, *found.notes]
    if lacks := unsaid(measured.call):
        notes = [*notes, f"{lacks}: measure them again, in another file"]
    show({**_facts(found), "errors": measured.made, "notes": notes or ["none"]}, as_json=as_json)
    if found.decision[0] == "cannot tell":
        typer.echo(f"cannot tell whose it is; {_advice(found)}", err=True)
        raise typer.Exit(NOT_EXACT)


def _advice(found: Identification) -> str:
    """What may help where it cannot be told."""
    if found.passage[0] == CHANGED:
        return "give the picture as it was made, or --realign"
    return "measure more with --passages"


def _stored(
    path: Path | None, passages: Sequence[str] | None, pictures: int | None
) -> ErrorModel | None:
    """The errors in a file, if it is there and holds what is asked for."""
    if path is None or not path.exists():
        return None
    found = ErrorModel.load(path)
    for name in found.recovered:
        if name not in PASSAGES:
            raise ValueError(
                f"--errors {path} was measured after {name!r}, which is none of "
                f"{', '.join(PASSAGES)}: give another file"
            )
    if passages is not None and set(passages) != set(found.recovered):
        raise ValueError(
            f"--errors {path} was measured with --passages {','.join(found.recovered)!r}: leave "
            "--passages out, or give another file"
        )
    if pictures is not None and pictures > len(found.noise):
        raise ValueError(
            f"--errors {path} was measured with --pictures {len(found.noise)}: leave --pictures "
            "out, or give another file"
        )
    return found


def _measured(pipe: Any, asked: dict[str, Any], path: Path | None) -> ErrorModel:
    """The errors, measured now and written to a file, if one is given."""
    found = measure_errors(pipe, progress=False, **asked)
    if path is not None:
        found.save(path)
    return found


def _check_probabilities(**given: float) -> None:
    """Refuse options that are certain already, or no probabilities."""
    for name, value in given.items():
        if not 0 < value < 1:
            raise ValueError(f"--{name} must be above 0 and below 1, got {value:g}")


def _check_passages(passages: str) -> list[str]:
    """The names in ``--passages``."""
    names = [name.strip() for name in passages.split(",")]
    unknown = [name for name in names if name not in PASSAGES]
    if unknown:
        raise ValueError(f"--passages {unknown[0]!r} is none of {', '.join(PASSAGES)}")
    return names


def _facts(found: Identification) -> dict[str, Any]:
    names = ("none", *found.names)
    best = found.posterior[0].topk(min(5, len(names)))
    return {
        "decision": found.decision[0],
        "probabilities": {
            names[int(i)]: p.item() for p, i in zip(best.values, best.indices, strict=True)
        },
        **({"also_in_other_channels": list(found.also[0])} if found.also[0] else {}),
        "log_odds_to_the_next": found.margin[0].item(),
        "p_without_a_key": 10 ** found.log10_p[0].item(),
        "as_after": found.passage[0],
        **_said(found),
    }


def _said(found: Identification) -> dict[str, Any]:
    """The message, where the key is one for messages."""
    letter = found.letters[0] if isinstance(found, Messages) else None
    if letter is None:
        return {}
    return {
        "message": "cannot read" if letter.text is None else letter.text,
        "message_confidence": letter.confidence,
        "bytes_corrected": letter.corrected,
    }
