"""The cell that installs invlib where it is missing; every chapter has the same one.

``python -m invlib.reproduce.book.install_cell`` writes it into all of them. In the repository it
does not know where invlib is; a build that knows the address fills that in, in the notebooks that
it publishes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

from .address import ROOT
from .chapter import write

EMPTY = 'SOURCE = ""'
TEXT = f"""\
# Where invlib is missing, as on Colab, this installs it in about a minute, and nothing else:
# torch and numpy stay as they are. The last line says whether the versions fit.
from importlib.util import find_spec

{EMPTY}
if not find_spec("invlib"):
    assert SOURCE, 'set SOURCE to where invlib is, such as "git+https://github.com/OWNER/NAME"'
    %pip install -q --no-deps {{SOURCE}}
    from invlib.extras import check

    print(check("all"))"""


def chapters(root: Path = ROOT) -> list[Path]:
    """The notebooks that stand alone."""
    return sorted((root / "book").glob("*.ipynb")) + sorted(
        (root / "book/appendix").glob("*.ipynb")
    )


def installs(cell: Any) -> bool:
    """Whether a cell is the one that installs invlib."""
    return cell.cell_type == "code" and "%pip install -q --no-deps" in cell.source


def filled(notebook: str, source: str) -> str:
    """The text of a notebook file whose cell knows where invlib is."""
    return notebook.replace(EMPTY.replace('"', '\\"'), f'SOURCE = \\"{source}\\"')


def main(root: Path = ROOT) -> None:
    """Write the cell into every chapter, in the place of the one that is there."""
    for page in chapters(root):
        notebook = nbformat.read(page, as_version=4)
        cells = [cell for cell in notebook.cells if installs(cell)]
        if len(cells) != 1:
            raise ValueError(f"{page} has {len(cells)} cells that install invlib; it needs one")
        cells[0].source = TEXT
        write(notebook, page)


if __name__ == "__main__":
    main()
