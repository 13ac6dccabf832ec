"""The figures and tables of the paper: one module and one notebook each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat

from .reached import code_of_text
from .store import write_json
from .work import Cell

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Figure:
    """A figure or table.

    Attributes:
        name: name of its notebook and of its results file.
        module: module of this package with ``cells(profile)``.
        profiles: the profiles that it can be made with; editing needs the renderer of the
            embedded data.
    """

    name: str
    module: str
    profiles: tuple[str, ...] = ("tiny", "paper")

    def cells(self, profile: str) -> list[Cell]:
        """The work that it needs."""
        module: Any = import_module(f"{__package__}.{self.module}")
        return module.cells(profile)

    @property
    def notebook(self) -> Path:
        """Its page, with the outputs of profile ``tiny``."""
        return ROOT / "book" / "figures" / f"{self.name}.ipynb"

    def page(self, profile: str) -> Path:
        """Where the executed notebook goes."""
        return self.notebook if profile == "tiny" else ROOT / results(self.name, profile, ".ipynb")

    def stamp(self, profile: str) -> str:
        """A hash of all that its page is made from, and of the page itself; empty if it lacks."""
        page, values = self.page(profile), ROOT / results(self.name, profile)
        if not (page.exists() and values.exists()):
            return ""
        notebook = nbformat.read(self.notebook, as_version=4)
        program = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
        parts = [
            code_of_text(program),
            *(cell.source for cell in notebook.cells),
            *(json.dumps(cell.config, sort_keys=True) for cell in self.cells(profile)),
            page.read_text(),
            values.read_text(),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def results(name: str, profile: str, ending: str = ".json") -> Path:
    """Where the numbers of a figure go, relative to the repository."""
    folder = Path("results") if profile == "tiny" else Path("results") / profile
    return folder / f"{name}{ending}"


def write(name: str, profile: str, values: dict[str, Any], root: Path = ROOT) -> None:
    """Write the numbers of a figure, with a fingerprint of all that they were made with."""
    configs = [cell.config for cell in FIGURES[name].cells(profile)]
    write_json(root / results(name, profile), values, configs)


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("abstract", "abstract"),
        Figure("fig1", "figure1"),
        Figure("fig2", "figure2"),
        Figure("fig3", "figure3"),
        Figure("fig4", "figure4"),
        Figure("fig5", "figure5"),
        Figure("fig6", "figure6", ("tiny",)),
        Figure("comparison", "comparison"),
        Figure("reconstruction", "reconstruction"),
        Figure("runtime", "runtime"),
        Figure("watermark", "watermarks"),
        Figure("editing", "editing_table", ("tiny",)),
    )
}
