"""Execute chapters again and store them: ``python -m invlib.reproduce.book.chapter PAGES``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import nbformat
import typer

from ...whole import whole
from .slack import keep, recorded
from .tidy import tidied

LIMIT = 60  # seconds of computing that a chapter may take


def main(
    pages: Annotated[list[Path], typer.Argument(help="notebooks", exists=True, dir_okay=False)],
    run: Annotated[bool, typer.Option(help="execute them, or only bring them into form")] = True,
) -> None:
    """Execute notebooks, one after the other, and store them in the form that is always the same.

    One that fails or computes for more than a minute stays as it is.
    """
    for page in pages:
        notebook = nbformat.read(page, as_version=4)
        if run:
            start = computed()
            claims = recorded(notebook, page.parent)
            seconds = computed() - start
            if seconds > LIMIT:
                sys.exit(f"{page} computed for {seconds:.0f} s, more than {LIMIT} s: not stored")
            keep(page, claims)
            print(f"{page}: {seconds:.0f} s", flush=True)
        write(tidied(notebook), page)


def computed() -> float:
    """Seconds that processes which this one started, and which ended, spent computing."""
    times = os.times()
    return times.children_user + times.children_system


def write(notebook: nbformat.NotebookNode, page: Path) -> None:
    """Put a notebook in the place of another one at once."""
    with whole(page) as part:
        nbformat.write(notebook, part)


if __name__ == "__main__":
    typer.run(main)
