"""The figures and tables of the paper: the work, the page and the results file of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from ..editing import table as editing_table
from ..engine.reached import code_of_text
from ..engine.store import ROOT, write_json
from ..engine.work import Cell
from ..models.fetching import kept
from ..models.full_size import FULL_SIZE, real
from ..watermark import table as watermarks
from .abstract import cells as abstract
from .comparison import cells as comparison
from .figure1 import cells as figure1
from .figure2 import cells as figure2
from .figure3 import cells as figure3
from .figure4 import cells as figure4
from .figure5 import cells as figure5
from .figure6 import cells as figure6
from .own_sampler import cells as own_sampler
from .reconstruction import cells as reconstruction
from .runtime import cells as runtime

PAPERS = ("tiny", *(name for name, model in FULL_SIZE.items() if model.figures))
MODELS = "models"  # name of the file that tells where the models came from


@dataclass(frozen=True)
class Figure:
    """A figure or table.

    Attributes:
        name: name of its notebook and of its results file.
        cells: ``profile -> the work that it needs``.
        profiles: the profiles that it can be made with; editing needs the renderer of the
            embedded data.
        whole: whether its searches run to their ends even in a rehearsal, for they are looked into.
    """

    name: str
    cells: Callable[[str], list[Cell]]
    profiles: tuple[str, ...] = PAPERS
    whole: bool = False

    def has(self, profile: str) -> bool:
        """Whether it can be made with a profile, or rehearsed."""
        return real(profile) in self.profiles

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


def provenance(profile: str, root: Path = ROOT) -> dict[str, Any]:
    """What is noted of the models of a full-size profile, and the mark of a rehearsal.

    Raises:
        RuntimeError: if nothing readable is noted, with the file and what to do.
    """
    return {} if profile == "tiny" else kept(root / results(MODELS, profile))


def write(name: str, profile: str, values: dict[str, Any], root: Path = ROOT) -> None:
    """Write the numbers of a figure, with a fingerprint of all that they were made with."""
    configs = [cell.config for cell in FIGURES[name].cells(profile)]
    write_json(root / results(name, profile), {**values, **provenance(profile, root)}, configs)


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("abstract", abstract.cells, whole=True),
        Figure("fig1", figure1.cells, whole=True),
        Figure("fig2", figure2.cells),
        Figure("fig3", figure3.cells),
        Figure("fig4", figure4.cells),
        Figure("fig5", figure5.cells),
        Figure("fig6", figure6.cells, ("tiny",)),
        Figure("comparison", comparison.cells),
        Figure("reconstruction", reconstruction.cells),
        Figure("runtime", runtime.cells),
        Figure("watermark", watermarks.cells),
        Figure("own_sampler", own_sampler.cells, ("tiny", *FULL_SIZE), whole=True),
        Figure("editing", editing_table.cells, ("tiny",)),
    )
}
