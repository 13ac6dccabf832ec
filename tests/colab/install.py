"""Run the cell that installs invlib: ``python tests/colab/install.py PYTHON WHEEL``.

It runs as a reader of Colab runs it, in a kernel of an environment that lacks invlib, and with a
wheel in the place of the repository. It may install invlib and nothing else, within two minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from invlib.reproduce.book.install_cell import EMPTY, TEXT

SECONDS = 120


def packages(python: str) -> set[str]:
    """What is installed, with versions."""
    listed = [python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    return {*subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()}


def main(python: str, wheel: str) -> None:
    """Run the cell, and compare what is installed with what was."""
    python = str(Path(python).absolute())  # the kernel starts in another folder
    before, start = packages(python), time.monotonic()
    source = TEXT.replace(EMPTY, f"SOURCE = {str(Path(wheel).resolve())!r}")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}})
        client.create_kernel_manager().kernel_spec.argv[0] = python
        client.execute()
    outputs = notebook.cells[0].outputs
    said = "".join(o.text for o in outputs if o.output_type == "stream").strip().splitlines()
    new = {each.partition("==")[0].partition(" @")[0] for each in packages(python) - before}
    lost = before - packages(python)
    if new != {"invlib"} or lost:
        sys.exit(f"the cell installed {sorted(new)} and removed {sorted(lost)}")
    print(f"installed by the cell in {time.monotonic() - start:.0f} s: {said[-1] if said else ''}")


if __name__ == "__main__":
    main(*sys.argv[1:])
