"""Keep stored results after a change that leaves them as they are.

``python -m invlib.reproduce.accept OLD``, where ``OLD`` is a checkout of the code that they were
made with. Some of them are computed again; the others are kept only if those come out the same.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from . import bench, front, store
from .figures import FIGURES
from .runner import attempt
from .tables import TABLES
from .work import FOLDER, Cell


def main(
    old: Annotated[Path, typer.Argument(help="checkout of the older code", exists=True)],
    check: Annotated[int, typer.Option(help="how many to compute again", min=1)] = 5,
    skip: Annotated[list[str] | None, typer.Option(help="words; cells with one are left")] = None,
) -> None:
    """Give the results of older code the names that the present code looks for."""
    cells = [c for c in every_cell() if not any(word in c.label for word in skip or ())]
    found = moved(cells, old / "invlib", FOLDER)
    if not found:
        sys.exit("nothing is stored for the older code that the present one lacks")
    for cell, result in random.Random(0).sample(found, min(check, len(found))):
        changed = differing(result, attempt(cell))
        if changed:
            sys.exit(f"{cell.label}: {', '.join(changed)} changed; nothing is kept")
        print(f"the same: {cell.label}", flush=True)
    for cell, result in found:
        cell.put(result)
    print(f"kept {len(found)} results")


def every_cell() -> list[Cell]:
    """All that can be stored, of the profile ``tiny``."""
    cells = [cell for figure in FIGURES.values() for cell in figure.cells("tiny")]
    cells += [cell for table in TABLES.values() for cell in table.cells(table.prompts)]
    return cells + bench.all_cells(bench.IMAGES) + front.cells("tiny")


def moved(
    cells: Sequence[Cell], package: Path, folder: Path
) -> list[tuple[Cell, dict[str, Tensor]]]:
    """The cells that are stored for the code in a package, and not for the present code."""
    with other(package):
        results = [cell.load(folder) for cell in cells]
    return [
        (cell, result)
        for cell, result in zip(cells, results, strict=True)
        if result is not None and cell.load(folder) is None
    ]


@contextmanager
def other(package: Path) -> Iterator[None]:
    """Hash the code of another copy of the package."""
    present, store.PACKAGE = store.PACKAGE, package
    store.code_hash.cache_clear()
    try:
        yield
    finally:
        store.PACKAGE = present
        store.code_hash.cache_clear()


def differing(one: dict[str, Tensor], two: dict[str, Tensor] | Exception) -> list[str]:
    """Names of the values that are not equal, seconds aside."""
    if isinstance(two, Exception):
        return [str(two)]
    names = sorted(name for name in one.keys() | two.keys() if "seconds" not in name)
    missing = [name for name in names if name not in one or name not in two]
    return missing + [
        name
        for name in names
        if name not in missing
        if not torch.equal(one[name].nan_to_num(), two[name].nan_to_num())
    ]


if __name__ == "__main__":
    typer.run(main)
