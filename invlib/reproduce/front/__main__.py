"""The open front, ``results/front.json``: ``python -m invlib.reproduce.front``.

The cells are no part of ``make figures``; interrupted, the command resumes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ...rehearsal.forecast import choices
from ..engine.runner import processes, run
from ..engine.store import write_json
from ..models.full_size import FULL_SIZE
from .cells import cells, load, summary

FIT = [name for name, model in FULL_SIZE.items() if model.figures]  # latents of Stable Diffusion
PROFILE = choices(FIT)


def main(
    profile: Annotated[str, typer.Option(help=PROFILE)] = "tiny",
    workers: Annotated[int, typer.Option(help="processes, of one thread each", min=1)] = 2,
    report: Annotated[bool, typer.Option(help="only report what is stored")] = False,
) -> None:
    """Run the cells that are not stored, and write ``results/front.json``."""
    if not report:
        run(cells(profile), partial(processes, workers=workers))
    configs = [cell.config for cell in cells(profile)]
    write_json(Path("results") / "front.json", summary(load(profile), profile), configs)


if __name__ == "__main__":
    typer.run(main)
