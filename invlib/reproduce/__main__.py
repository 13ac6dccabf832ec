"""Regenerate the paper's figures: ``python -m invlib.reproduce``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import nbformat
import papermill
import typer

from . import pages, paper_models
from .figures import FIGURES, ROOT, Figure
from .kernel import ENCRYPTED
from .profiles import known
from .runner import engine_named, run
from .tidy import tidied
from .work import FOLDER


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
        if profile == "paper":
            print(paper_models.NEEDS, flush=True)
            paper_models.check()
        place = engine_named(engine, workers=workers, address=address)
        run([cell for figure in wanted for cell in figure.cells(profile)], place)
    except (ImportError, RuntimeError, ValueError) as error:
        sys.exit(str(error))
    with ThreadPoolExecutor(workers) as pool:  # papermill moves to book/figures: only full paths
        good = [*pool.map(partial(refreshed, profile=profile), wanted)]
    failed = [figure.name for figure, fine in zip(wanted, good, strict=True) if not fine]
    if profile == "tiny":
        pages.main(ROOT)
    if failed:
        sys.exit(f"pages that failed: {', '.join(failed)}")


def refreshed(figure: Figure, profile: str) -> bool:
    """Run the notebook of a figure; if it fails, say why, and let the others go on."""
    try:
        refresh(figure, profile)
    except papermill.PapermillExecutionError as error:
        print(f"{figure.name} failed: {error}", file=sys.stderr, flush=True)
        return False
    return True


def refresh(figure: Figure, profile: str, folder: Path = ROOT / FOLDER) -> None:
    """Run the notebook of a figure, unless its page and results are of the present code."""
    done = folder / f"{figure.name}.{profile}.done"
    stamp = figure.stamp(profile)
    if stamp and done.exists() and done.read_text() == stamp:
        print(f"{figure.name} is up to date", flush=True)
        return
    run_notebook(figure.notebook, profile, figure.page(profile))
    done.write_text(figure.stamp(profile))
    print(f"wrote {figure.page(profile).relative_to(ROOT)}", flush=True)


def run_notebook(path: Path, profile: str, output: Path | None = None) -> None:
    """Execute a figure notebook with papermill and keep its outputs, by default in place."""
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / path.name
        papermill.execute_notebook(
            path,
            done,
            {"profile": profile},
            cwd=path.parent,
            kernel_name="python3",
            progress_bar=False,
            shutdown_kernel="immediate",  # a polite one complains of an interrupt
            config=ENCRYPTED,
        )
        nbformat.write(tidied(nbformat.read(done, as_version=4)), done)
        shutil.move(done, output or path)


if __name__ == "__main__":
    typer.run(main)
