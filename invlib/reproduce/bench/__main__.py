"""The field bench, ``results/bench.json``: ``python -m invlib.reproduce.bench``.

``make bench`` does the same. Interrupted, it resumes.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..book.figure_pages import run_notebook
from ..book.pages import filled
from ..engine.runner import processes, run
from ..engine.store import write_json
from ..engine.table import DEVICE, GUIDANCE
from .cells import CASES, IMAGES, all_cells, cells, rows
from .methods import METHODS

PAGE, README = Path("book/reference/bench.ipynb"), Path("README.md")


def main(
    images: Annotated[int, typer.Option(help="images of each cell", min=1)] = IMAGES,
    workers: Annotated[int, typer.Option(help="processes, of one thread each", min=1)] = 2,
    only: Annotated[list[str] | None, typer.Option(help="samplers, default all")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="scales, default all")] = None,
    method: Annotated[list[str] | None, typer.Option(help="methods, default all")] = None,
    report: Annotated[bool, typer.Option(help="only report what is stored")] = False,
    show: Annotated[bool, typer.Option(help="only fill the pages, from the output")] = False,
    pages: Annotated[bool, typer.Option(help="fill the pages that show the results")] = True,
    output: Annotated[Path, typer.Option()] = Path("results/bench.json"),
) -> None:
    """Fill the bench, method by method; interrupted, it resumes."""
    if not report and not show:
        work = [
            cell
            for case in CASES
            if (not only or case.sampler in only) and case.guidance in (guidance or GUIDANCE)
            for name in case.methods
            if name in (method or METHODS)
            for cell in cells(case, name, images)
        ]
        run(work, partial(processes, workers=workers))
    if not show:
        found = rows(images)
        if not found:
            sys.exit(f"nothing is stored for the present code; {output} stays as it is")
        values = {"table": "bench", "images": images, "device": DEVICE, "rows": found}
        write_json(output, values, [cell.config for cell in all_cells(images)])
        print(f"wrote {output}: {len(found)} of {sum(len(c.methods) for c in CASES)} rows")
    if pages:
        fill_pages()


def fill_pages() -> None:
    """Put the results into the README, and run the page that plots them."""
    README.write_text(filled(Path("."), README.name))
    run_notebook(PAGE)


if __name__ == "__main__":
    typer.run(main)
