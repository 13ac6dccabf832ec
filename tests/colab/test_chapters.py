"""Every chapter alone in an empty folder, with the installed wheel.

``make colab`` runs them with the versions of Colab, ``make standalone`` with those of the book.
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from chapters import CHAPTERS, installs
from nbclient import NotebookClient

PYTHON = os.environ.get("INVLIB_ALONE", "")
SECONDS = 600  # for one cell
KEPT = ("PATH", "LANG", "OMP_NUM_THREADS")  # of the environment


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_alone(chapter: Path, tmp_path: Path) -> None:
    assert Path(PYTHON).is_file(), "run `make colab` or `make standalone`, which make it"
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not installs(cell)]
    folder, home = tmp_path / "folder", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}})
    client.create_kernel_manager().kernel_spec.argv[0] = PYTHON
    client.execute(env={**{k: os.environ[k] for k in KEPT if k in os.environ}, "HOME": str(home)})
    assert [*folder.iterdir()] == []
