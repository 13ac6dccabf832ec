"""The command line: ``invlib`` or ``python -m invlib``."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .demo import demo
from .errors import Reported
from .identify import identification
from .info import figures, models, rehearsal
from .invert import invert
from .regenerate import certify, regenerate
from .sample import sample
from .seeds import seeds

__all__ = ["app"]

app = typer.Typer(
    cls=Reported,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, sample, invert, regenerate, certify, models, figures):
    app.command()(command)
app.command("rehearse")(rehearsal)
app.command("identify")(identification)
app.command("seeds")(seeds)


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
