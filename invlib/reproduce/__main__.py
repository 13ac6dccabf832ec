"""Regenerate the paper's figures: ``python -m invlib.reproduce``."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated

import typer

from .book import pages
from .book.figure_pages import State, refreshed
from .engine.runner import engine_named, run
from .engine.store import ROOT
from .figures.registry import FIGURES
from .models import paper_models
from .models.profiles import known


def main(
    profile: Annotated[str, typer.Option(help="tiny (embedded models) or paper (GPU)")] = "tiny",
    only: Annotated[list[str] | None, typer.Option(help="figures to make, default all")] = None,
    engine: Annotated[str, typer.Option(help="serial, processes or ray")] = "processes",
    workers: Annotated[int, typer.Option(help="processes, of one thread each", min=1)] = 2,
    address: Annotated[str | None, typer.Option(help="Ray cluster, such as auto")] = None,
) -> None:
    """Do the work of every figure that is not stored yet, then run the notebooks."""
    os.chdir(ROOT)
    for name in only or FIGURES:
        if name not in FIGURES:
            sys.exit(f"unknown figure {name!r}; use one of {', '.join(FIGURES)}")
    wanted = [FIGURES[name] for name in only or FIGURES if profile in FIGURES[name].profiles]
    try:
        known(profile)
        if not wanted:
            raise ValueError(f"{', '.join(only or ())} cannot be made with profile {profile!r}")
        if profile == "paper":
            print(paper_models.NEEDS, flush=True)
            paper_models.check()
        place = engine_named(engine, workers=workers, address=address)
        run([cell for figure in wanted for cell in figure.cells(profile)], place)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(str(error))
    with ThreadPoolExecutor(workers) as pool:  # papermill moves to book/figures: only full paths
        states = [*pool.map(partial(refreshed, profile=profile), wanted)]
    if profile == "tiny":
        pages.main(ROOT)
    print(summary(states, profile))
    failed = [fig.name for fig, state in zip(wanted, states, strict=True) if state == "failed"]
    if failed:
        sys.exit(f"pages that failed: {', '.join(failed)}")


def summary(states: Sequence[State], profile: str) -> str:
    """How many pages were made, and where to look."""
    counts = ", ".join(f"{number} {state}" for state, number in Counter(states).items())
    if profile != "tiny":
        return f"Pages: {counts}. Numbers and pictures are in results/{profile}/."
    return (
        f"Pages: {counts}. Numbers are in results/, pictures in book/figures/; "
        "`make book` shows both in _build/html/index.html."
    )


if __name__ == "__main__":
    typer.run(main)
