"""Regenerate the paper's figures: ``python -m invlib.reproduce``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import nbformat
import papermill
import typer

from . import figure2

ROOT = Path(__file__).parents[2]
FIGURES = {"fig2": figure2.compute}
CACHE = Path(".cache") / "figures"


def main(
    profile: Annotated[str, typer.Option(help="tiny (embedded models) or paper (GPU)")] = "tiny",
    only: Annotated[list[str] | None, typer.Option(help="figures to make, default all")] = None,
) -> None:
    """Do the work of every figure that is not stored yet, then run its notebook."""
    os.chdir(ROOT)
    for name in only or FIGURES:
        if name not in FIGURES:
            sys.exit(f"unknown figure {name!r}; use one of {', '.join(FIGURES)}")
        try:
            FIGURES[name](profile, CACHE)
        except (NotImplementedError, ValueError) as error:
            sys.exit(str(error))
        run_notebook(ROOT / "book" / "figures" / f"{name}.ipynb", profile)
        print(f"wrote book/figures/{name}.ipynb and results/{name}.json", flush=True)


def run_notebook(path: Path, profile: str) -> None:
    """Execute a figure notebook with papermill and keep its outputs in place."""
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / path.name
        papermill.execute_notebook(
            path, done, {"profile": profile}, cwd=path.parent, kernel_name="python3"
        )
        notebook = nbformat.read(done, as_version=4)
        strip(notebook)
        nbformat.write(notebook, done)
        shutil.move(done, path)


def strip(notebook: nbformat.NotebookNode) -> None:
    """Drop what papermill adds and what changes from run to run, but not the outputs."""
    notebook.cells = [
        c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])
    ]
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for number, c in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        c.execution_count = number
        for output in c.outputs:
            if "execution_count" in output:
                output["execution_count"] = number
    for c in notebook.cells:
        for key in ("papermill", "execution"):
            c.metadata.pop(key, None)


if __name__ == "__main__":
    typer.run(main)
