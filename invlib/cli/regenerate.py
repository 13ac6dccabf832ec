"""``invlib regenerate`` and ``invlib certify``: from a noise file back to the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..noisefile import NoiseFile, fingerprint, load_noise
from ..pipelines import regenerate as run
from .errors import NOT_EXACT
from .files import as_bytes, flat, free, names_for, read_pictures, write_picture
from .model import open_model, use_scheduler
from .opening import DeviceOption
from .report import counting, described, show

NoiseArgument = Annotated[Path, typer.Argument(help="a noise file")]
ModelOption = Annotated[
    str | None, typer.Option(help="the model; default the one that the file names")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def regenerate(
    noise: NoiseArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="PNG to write; for frames numbered ones, or a folder"),
    ],
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    force: Annotated[bool, typer.Option("--force", help="replace existing files")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the picture of a noise file, or the frames of a clip, again with the stock pipeline."""
    stored = load_noise(noise, device=device)
    count = len(stored.pictures) or len(stored.latents)
    names = _free_names(output, count, force=force)
    pictures = pictures_of(stored, model, device, quiet=as_json)
    if len(pictures) != len(names):  # clips of several frames
        names = _free_names(output, len(pictures), force=force)
    for name, picture in zip(names, pictures, strict=True):
        write_picture(name, picture)
    files = [str(name) for name in names]
    show({"files": files, **_facts(stored)}, as_json=as_json)


def certify(
    noise: NoiseArgument,
    picture: Annotated[
        Path | None, typer.Option(help="the picture or clip, to compare values")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Make the picture again and compare it with the one that was inverted.

    Exit code 0 means: the same picture, bit for bit; 3: another one.
    """
    stored = load_noise(noise, device=device)
    if not stored.pictures and picture is None:
        raise ValueError(f"{noise} does not say what its picture was; give --picture")
    wanted, given = stored.pictures, None
    if picture is not None:
        given = as_bytes(read_pictures(picture)[0])
        wanted = fingerprint(given)
    pixels = as_bytes(pictures_of(stored, model, device, quiet=as_json))
    same = fingerprint(pixels) == wanted
    values: dict[str, Any] = {"same_picture": same}
    if given is not None and given.shape == pixels.shape:
        values["values_reproduced"] = (given == pixels).double().mean().item()
    show(values | _facts(stored), as_json=as_json)
    if not same:
        typer.echo("not the same picture", err=True)
        raise typer.Exit(NOT_EXACT)


def pictures_of(stored: NoiseFile, model: str | None, device: str, *, quiet: bool) -> list[Any]:
    """What the stock pipeline makes of a noise file.

    Raises:
        ValueError: if the model is another one, or the noise does not fit it.
    """
    opened = open_model(model or stored.model, dtype=stored.dtype, device=device)
    stored.check(opened)
    use_scheduler(opened, stored.scheduler, stored.scheduler_config)
    with counting(opened.pipe, "sampling", quiet=quiet):
        return flat(run(opened.pipe, stored.latents, stored.call, entrance=stored.entrance))


def _free_names(output: Path, count: int, *, force: bool) -> list[Path]:
    names = names_for(output, count)
    for name in names:
        free(name, force=force, suffix=".png")
    return names


def _facts(stored: NoiseFile) -> dict[str, Any]:
    return {
        "verdict_when_inverted": list(stored.verdict) or ["none"],
        "model": f"{stored.model} {stored.model_hash[:12]}",
        "scheduler": stored.scheduler,
        "call": described(stored.call),
    }
