"""Run the notebooks of figures, unless their pages and results are of the present code."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import nbformat
import papermill

from ...whole import write_text
from ..engine.store import ROOT
from ..engine.work import FOLDER
from ..figures.registry import Figure
from .kernel import ENCRYPTED
from .tidy import tidied

State = Literal["written", "up to date", "failed"]


def refreshed(figure: Figure, profile: str) -> State:
    """Run the notebook of a figure; if it fails, say why, and let the others go on."""
    try:
        return refresh(figure, profile)
    except papermill.PapermillExecutionError as error:
        print(f"{figure.name} failed: {error}", file=sys.stderr, flush=True)
        return "failed"


def refresh(figure: Figure, profile: str, folder: Path = ROOT / FOLDER) -> State:
    """Run the notebook of a figure, unless its page and results are of the present code."""
    done = folder / f"{figure.name}.{profile}.done"
    stamp = figure.stamp(profile)
    if stamp and done.exists() and done.read_text() == stamp:
        print(f"{figure.name} is up to date", flush=True)
        return "up to date"
    run_notebook(figure.notebook, profile, figure.page(profile))
    write_text(done, figure.stamp(profile))
    print(f"wrote {figure.page(profile).relative_to(ROOT)}", flush=True)
    return "written"


def run_notebook(
    path: Path,
    profile: str | None = None,
    output: Path | None = None,
    *,
    folder: Path | None = None,
    extra: Sequence[nbformat.NotebookNode] = (),
) -> None:
    """Execute a notebook with papermill and keep its outputs, by default in place.

    Args:
        path: the notebook.
        profile: the parameter of a figure; None for a notebook without one.
        output: where it goes.
        folder: where its kernel runs, by default its own.
        extra: cells to put behind its first one; with some, an error ends its own cell only.

    Raises:
        PapermillExecutionError: if a cell fails; what ran is kept, but not in place.
    """
    kept = output not in (None, path)
    with tempfile.TemporaryDirectory() as place:
        done, source = Path(place) / path.name, Path(place) / f"source-{path.name}"
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[1:1] = extra
        for cell in notebook.cells if extra else ():
            cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "raises-exception"]
        nbformat.write(notebook, source)
        try:
            papermill.execute_notebook(
                source,
                done,
                {} if profile is None else {"profile": profile},
                cwd=folder or path.parent,
                kernel_name="python3",
                progress_bar=False,
                shutdown_kernel="immediate",  # a polite one complains of an interrupt
                config=ENCRYPTED,
            )
            kept = True
        finally:
            if kept and done.exists():
                nbformat.write(tidied(nbformat.read(done, as_version=4)), done)
                shutil.move(done, output or path)
