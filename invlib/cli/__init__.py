"""The command line: ``invlib`` or ``python -m invlib``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..version import __version__
from .demo import demo
from .edit import edit
from .errors import Reported
from .identify import identification
from .info import figures, models, rehearsal
from .invert import invert
from .regenerate import certify, regenerate
from .sample import sample
from .seeds import seeds
from .ticker import ticked
from .watermark import app as watermark

__all__ = ["app"]

app = typer.Typer(
    cls=Reported,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, sample, invert, regenerate, certify, edit, models):
    app.command()(ticked(command))
app.command()(figures)  # says itself what it does
app.command("rehearse")(ticked(rehearsal))
app.command("identify")(ticked(identification))
app.command("seeds")(ticked(seeds))
app.add_typer(watermark, name="watermark")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"invlib {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """From the picture of a diffusion sampler back to its noise, with a certificate."""
