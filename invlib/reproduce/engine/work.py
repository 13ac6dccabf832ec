"""A cell of work: a function, what it is told, and the stored result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ...watch import Budget, Watch, watching
from .reached import PACKAGE, code_at, code_of
from .store import cell, stored

FOLDER = Path(".cache") / "figures"
Row = TypeVar("Row")


@dataclass(frozen=True)
class Cell:
    """A piece of work that is done once; its result is kept under a hash of all it depends on.

    Attributes:
        figure: the figure or table that it belongs to.
        work: function on the top level of a module, ``work(**options) -> tensors by name``.
        options: its arguments; values that JSON knows.
        depends: what else it depends on, apart from code; values that JSON knows.
        uses: more arguments by name, each a definition below the package and where it stands,
            ``"inverters.naive:naive"``; what that reaches counts, and what its neighbours reach
            does not.
        budget: most evaluations that its searches may take, in a rehearsal; by default any number.
    """

    figure: str
    work: Callable[..., dict[str, Tensor]]
    options: Mapping[str, Any] = field(default_factory=dict)
    depends: Mapping[str, Any] = field(default_factory=dict)
    uses: Mapping[str, str] = field(default_factory=dict)
    budget: int | None = None

    @property
    def label(self) -> str:
        """What a progress bar calls it."""
        return " ".join([self.figure, *map(str, self.options.values())])

    @property
    def config(self) -> dict[str, Any]:
        """Everything that its result depends on."""
        from ...portraits.load import MODELS, verify  # slow, and workers do not need it

        return {
            "figure": self.figure,
            "work": self.work.__qualname__,
            "options": dict(self.options),
            "models": {name: verify(name) for name in MODELS},
            "code": code_of(self.work),
            **{name: code_at(*place.split(":")) for name, place in self.uses.items()},
            **self.depends,
        }

    @property
    def arguments(self) -> dict[str, Any]:
        """All that the function is called with."""
        return {**self.options, **{name: at(place) for name, place in self.uses.items()}}

    def result(self) -> dict[str, Tensor]:
        """Do the work, within the budget."""
        if self.budget is None:
            return self.work(**self.arguments)
        with watching(Watch(budget=Budget(self.budget))):
            return self.work(**self.arguments)

    def load(self, folder: Path = FOLDER) -> dict[str, Tensor] | None:
        """Its result if it is stored for the present code, else None."""
        return stored(folder, self.config)

    def put(self, result: dict[str, Tensor], folder: Path = FOLDER) -> None:
        """Store a result that another process or machine has computed."""
        cell(folder, self.config, lambda: result)


def at(place: str) -> Any:
    """What is defined at a place below the package, ``"inverters.naive:naive"``."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"{PACKAGE.name}.{module}"), name)


def load_known(
    cells: Sequence[Cell], folder: Path = FOLDER
) -> list[tuple[Cell, dict[str, Tensor]]]:
    """The cells that are stored for the present code, with their results."""
    found = [(cell, cell.load(folder)) for cell in cells]
    return [(cell, result) for cell, result in found if result is not None]


def load_rows(
    rows: Sequence[Row], cells: Sequence[Cell], folder: Path
) -> list[tuple[Row, dict[str, Tensor]]]:
    """The rows of a table with their stored results, one cell a row; raises as :func:`load_all`."""
    return list(zip(rows, load_all(cells, folder), strict=True))


def load_all(cells: Sequence[Cell], folder: Path = FOLDER) -> list[dict[str, Tensor]]:
    """The stored results of some cells.

    Raises:
        FileNotFoundError: if one is not stored for the present code.
    """
    results = [cell.load(folder) for cell in cells]
    missing = [cell.label for cell, found in zip(cells, results, strict=True) if found is None]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(cells)} results are not stored, such as {missing[0]!r}; "
            f"run: python -m invlib.reproduce --only {cells[0].figure}"
        )
    return [found for found in results if found is not None]
