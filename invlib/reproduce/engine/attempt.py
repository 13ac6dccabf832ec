"""One attempt at a cell of work, wherever it is made."""

from __future__ import annotations

from torch import Tensor

from .work import Cell

Result = dict[str, Tensor]
Done = tuple[int, Result | Exception]
ATTEMPTS = 3


def attempt(cell: Cell) -> Result | Exception:
    """The result of a cell, or why there is none."""
    try:
        return {name: value.cpu() for name, value in cell.result().items()}
    except Exception as error:  # the others go on
        return RuntimeError(f"{type(error).__name__}: {error}")
