"""Regenerate the paper's figures: ``python -m invlib.reproduce``."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..rehearsal import forecast
from .book import pages
from .book.figure_pages import State, refreshed
from .elsewhere.drawing import DRAWN, draw
from .elsewhere.plan import Plan
from .engine.runner import Engine, engine_named, run
from .engine.store import ROOT
from .figures.registry import FIGURES, Figure
from .models.checking import ready
from .models.full_size import FULL_SIZE, known

PROFILE = forecast.choices(FULL_SIZE)


def main(
    profile: Annotated[str, typer.Option(help=PROFILE)] = "tiny",
    only: Annotated[list[str] | None, typer.Option(help="figures to make, default all")] = None,
    engine: Annotated[str, typer.Option(help="serial, processes, ray or slurm")] = "processes",
    workers: Annotated[
        int | None, typer.Option(help="processes; 2, or 1 for full-size models", min=1)
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster, such as auto")] = None,
    folder: Annotated[str, typer.Option(help="another place for work, numbers and pages")] = "",
) -> None:
    """Do the work of every figure that is not stored yet, then run the notebooks."""
    os.chdir(ROOT)
    for name in only or FIGURES:
        if name not in FIGURES:
            sys.exit(f"unknown figure {name!r}; use one of {', '.join(FIGURES)}")
    wanted = [FIGURES[name] for name in only or FIGURES if FIGURES[name].has(profile)]
    each = workers or (2 if profile == "tiny" else 1)
    try:
        known(profile)
        if not wanted:
            raise ValueError(f"{', '.join(only or ())} cannot be made with profile {profile!r}")
        ready(profile)
        if profile in FULL_SIZE:
            print(forecast.said(), flush=True)
        place = engine_named(engine, workers=each, address=address)
        if profile != "tiny" or folder:
            return apart(Plan(profile, tuple(wanted), Path(folder or ROOT).resolve(), each), place)
        run([cell for figure in wanted for cell in figure.cells(profile)], place)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(str(error))
    refresh(wanted, each)


def apart(plan: Plan, engine: Engine) -> None:
    """Make figures in a folder, or with full-size models: no kernel loads one.

    Pages whose work is done are drawn, whatever became of the others.
    """
    plan.fetch()
    problems = []
    try:
        plan.work(engine)
    except RuntimeError as error:
        problems.append(str(error))
    done = tuple(figure for figure in plan.figures if not plan.left(figure))
    words = draw(replace(plan, figures=done))
    print("\n".join(f"{name}: {said}" for name, said in words.items()))
    print(f"Numbers and pages are in {plan.page(plan.figures[0]).parent}.")
    failed = [name for name, said in words.items() if not said.startswith(DRAWN)]
    failed += [figure.name for figure in plan.figures if figure not in done]
    if failed:
        problems.append(f"pages that failed: {', '.join(failed)}")
    if problems:
        sys.exit("; ".join(problems))


def refresh(wanted: Sequence[Figure], workers: int) -> None:
    """Run the notebooks of the book that are not up to date, and fill its pages."""
    profile = "tiny"
    with ThreadPoolExecutor(workers) as pool:  # papermill moves to book/figures: only full paths
        states = [*pool.map(partial(refreshed, profile=profile), wanted)]
    pages.main(ROOT)
    print(summary(states))
    failed = [fig.name for fig, state in zip(wanted, states, strict=True) if state == "failed"]
    if failed:
        sys.exit(f"pages that failed: {', '.join(failed)}")


def summary(states: Sequence[State]) -> str:
    """How many pages were made, and where to look."""
    counts = ", ".join(f"{number} {state}" for state, number in Counter(states).items())
    return (
        f"Pages: {counts}. Numbers are in results/, pictures in book/figures/; "
        "`make book` shows both in _build/html/index.html."
    )


if __name__ == "__main__":
    typer.run(main)
