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
from ..engine.stamps import filled_up, made_of, read_rows
from ..engine.store import write_json
from ..engine.table import DEVICE, GUIDANCE
from .cells import IMAGES, all_cells, by_place, places, rows
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
    """Fill the bench, method by method; interrupted, it resumes.

    Rows of the output that are of the present code are not measured again.
    """
    work, before = places(images), by_place(read_rows(output))
    if not report and not show:
        todo = [
            cell
            for (case, name), parts in work.items()
            if (not only or case.sampler in only) and case.guidance in (guidance or GUIDANCE)
            if name in (method or METHODS)
            if made_of(before.get((case, name), []), parts) < len(parts)
            for cell in parts
        ]
        run(todo, partial(processes, workers=workers))
    if not show:
        found, fresh = filled_up(rows(images), before, work)
        if not fresh:
            sys.exit(f"nothing is stored for the present code; {output} stays as it is")
        values = {"table": "bench", "images": images, "device": DEVICE, "fresh": fresh}
        cells = all_cells(images) if fresh == len(found) else []
        write_json(output, {**values, "rows": found}, [cell.config for cell in cells])
        print(f"wrote {output}: {fresh} of {len(work)} rows are of the present code")
    if pages:
        fill_pages()


def fill_pages() -> None:
    """Put the results into the README, and run the page that plots them."""
    README.write_text(filled(Path("."), README.name))
    run_notebook(PAGE)


if __name__ == "__main__":
    typer.run(main)
