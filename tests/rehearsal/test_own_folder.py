"""The page for a GPU of one's own, run whole in an empty folder: planned, done, drawn, packed."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import nbformat
import papermill
from chapters import ROOT

from invlib.reproduce.book.kernel import ENCRYPTED
from invlib.reproduce.elsewhere import plan
from invlib.reproduce.engine.work import FOLDER

PAGE = ROOT / "book/run_on_a_gpu.ipynb"


def test_the_page_makes_a_figure_and_goes_on_where_it_was(tmp_path: Path) -> None:
    folder, kernel = tmp_path / "drive", tmp_path / "empty"
    kernel.mkdir()
    papermill.execute_notebook(
        PAGE,
        tmp_path / "done.ipynb",
        {"profile": "tiny", "figures": ["fig1"], "folder": str(folder)},
        cwd=kernel,
        progress_bar=False,
        config=ENCRYPTED,
    )
    cells = nbformat.read(tmp_path / "done.ipynb", as_version=4).cells
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 1
    assert "| fig1 | 1 of 1 |" in json.dumps(outputs)
    assert [*kernel.iterdir()] == []
    with ZipFile(folder / "invlib-figures-tiny.zip") as archive:
        assert archive.namelist() == ["results/fig1.ipynb", "results/fig1.json"]
        values = json.loads(archive.read("results/fig1.json"))
    assert values["rows"] and values["code"]

    [work] = (folder / FOLDER).glob("*.safetensors")
    before = work.stat().st_mtime_ns
    again = plan("tiny", ("fig1",), folder)  # after a disconnect
    again.work()
    assert again.left(again.figures[0]) == 0 and work.stat().st_mtime_ns == before
