"""The notebooks that stand alone: what a reader opens in Colab."""

from __future__ import annotations

from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb")) + sorted(
    (ROOT / "book/appendix").glob("*.ipynb")
)


def installs(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell is the one that installs invlib on Colab."""
    return cell.cell_type == "code" and "%pip install" in cell.source


def steps(path: Path) -> list[str]:
    """The code of a notebook, cell by cell, but for the cell that installs."""
    cells = nbformat.read(path, as_version=4).cells
    return [c.source for c in cells if c.cell_type == "code" and not installs(c)]
