"""Fill the long tables: ``python -m invlib.reproduce.tables``.

One cell of work is a shard of eight held-out prompts; interrupted, a table resumes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ..engine.runner import processes, run
from .registry import TABLES


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(TABLES)}")] = None,
    prompts: Annotated[int | None, typer.Option(help="held-out prompts, in eights", min=1)] = None,
    only: Annotated[list[str] | None, typer.Option(help="samplers, default all")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="scales, default all")] = None,
    workers: Annotated[int, typer.Option(help="processes, of one thread each", min=1)] = 2,
    report: Annotated[bool, typer.Option(help="only report what is stored")] = False,
) -> None:
    """Fill tables, by default all, shard by shard, and write ``results/NAME.json``.

    Rows of that file that are of the present code are not measured again.
    """
    for name in names or TABLES:
        if name not in TABLES:
            raise typer.BadParameter(f"no table {name!r}; use one of {', '.join(TABLES)}")
    for name in names or TABLES:
        table = TABLES[name]
        count, output = prompts or table.prompts, Path("results") / f"{name}.json"
        if not report:
            todo = table.missing(count, output, only, guidance)
            run(todo, partial(processes, workers=workers))
        rows = table.write(count, output)
        print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3g}"))


if __name__ == "__main__":
    typer.run(main)
