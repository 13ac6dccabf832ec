"""``invlib regenerate`` and ``invlib certify``: from a noise file back to the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ..identity import Model
from ..noisefile import NoiseFile, load_noise
from ..repetition import Repetition
from .errors import NOT_EXACT
from .files import flat, read_pictures
from .model import open_model
from .opening import DeviceOption
from .outputs import free, names_for, write_pictures
from .report import described, show
from .ticker import counting

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
    """Make the picture of a noise file, or the frames of a clip, again with the stock pipeline.

    Exit code 0 means: the same picture, bit for bit, or a file that does not say what it was; 3:
    another one, which was written.
    """
    stored = load_noise(noise, device=device)
    count = len(stored.pictures) or len(stored.latents)
    names = _free_names(output, count, force=force)
    opened = _opened(stored, model, device)
    with counting(opened.pipe, "sampling"):
        made = stored.repeat(opened)
    pictures = flat(made.pictures)
    if len(pictures) != len(names):  # clips of several frames
        names = _free_names(output, len(pictures), force=force)
    files = [str(name) for name in write_pictures(names, pictures, force=force)]
    known = {} if made.same is None else {"same_picture": made.same}
    show({"files": files, **known, **_facts(stored)}, as_json=as_json)
    if made.same is False:
        _not_the_same(made)


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
    given = None if picture is None else read_pictures(picture)[0]
    opened = _opened(stored, model, device)
    with counting(opened.pipe, "sampling"):
        found = stored.repeat(opened, given)
    values: dict[str, Any] = {"same_picture": found.same}
    if found.comparison is not None and not found.comparison.reason:
        values["values_reproduced"] = found.comparison.share
        values["largest_gap"] = int(found.comparison.gap.max())
    show(values | _facts(stored), as_json=as_json)
    if not found.same:
        _not_the_same(found)


def _not_the_same(found: Repetition) -> NoReturn:
    """End with the exit code and the line of another picture."""
    typer.echo(f"not the same picture: {_said(found)}", err=True)
    raise typer.Exit(NOT_EXACT)


def _said(found: Repetition) -> str:
    """What became of the pictures, in one line."""
    if found.comparison is None:
        return "`invlib certify --picture` says by how much"
    return found.comparison.reason or found.comparison.said() + found.comparison.off()


def _opened(stored: NoiseFile, model: str | None, device: str) -> Model:
    """The model of a noise file, or the one that is given."""
    return open_model(
        model or stored.model, dtype=stored.dtype, device=device, wanted=stored.model_hash
    )


def _free_names(output: Path, count: int, *, force: bool) -> list[Path]:
    names = names_for(output, count)
    for name in names:
        free(name, force=force, suffix=".png")
    return names


def _facts(stored: NoiseFile) -> dict[str, Any]:
    return {
        "latents_when_inverted": list(stored.verdict) or ["none"],
        "model": f"{stored.model} {stored.model_hash[:12]}",
        "scheduler": stored.scheduler,
        "call": described(stored.call),
    }
