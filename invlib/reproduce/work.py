"""A cell of work: a function, what it is told, and the stored result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from .store import cell, code_hash, stored

FOLDER = Path(".cache") / "figures"
SHARED = ("probing.py", "reproduce/problem.py", "reproduce/profiles.py")


@dataclass(frozen=True)
class Cell:
    """A piece of work that is done once; its result is kept under a hash of all it depends on.

    Attributes:
        figure: the figure or table that it belongs to.
        work: function on the top level of a module, ``work(**options) -> tensors by name``.
        options: its arguments; values that JSON knows.
        files: library code outside the core that the result depends on, as patterns.
    """

    figure: str
    work: Callable[..., dict[str, Tensor]]
    options: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What a progress bar calls it."""
        return " ".join([self.figure, *map(str, self.options.values())])

    @property
    def config(self) -> dict[str, Any]:
        """Everything that its result depends on, apart from the core of the library."""
        from ..portraits.load import MODELS, verify  # slow, and workers do not need it

        return {
            "figure": self.figure,
            "work": f"{self.work.__module__}.{self.work.__qualname__}",
            "options": dict(self.options),
            "models": {name: verify(name) for name in MODELS},
            "files": code_hash((*SHARED, *self.files)),
        }

    def load(self, folder: Path = FOLDER) -> dict[str, Tensor] | None:
        """Its result if it is stored for the present code, else None."""
        return stored(folder, self.config)

    def fill(self, folder: Path = FOLDER) -> dict[str, Tensor]:
        """Its result; the work is done if it is not stored."""
        return cell(folder, self.config, partial(self.work, **self.options))

    def put(self, result: dict[str, Tensor], folder: Path = FOLDER) -> None:
        """Store a result that another process or machine has computed."""
        cell(folder, self.config, lambda: result)


def load_all(cells: Sequence[Cell], folder: Path = FOLDER) -> list[dict[str, Tensor]]:
    """The stored results of some cells.

    Raises:
        FileNotFoundError: if one is not stored for the present code.
    """
    results = [(cell, cell.load(folder)) for cell in cells]
    missing = [cell.label for cell, result in results if result is None]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(cells)} results are not stored, such as {missing[0]!r}; "
            f"run: python -m invlib.reproduce --only {cells[0].figure}"
        )
    return [result for _, result in results if result is not None]
