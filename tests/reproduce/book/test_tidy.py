"""A notebook that is run again is stored as the same bytes."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from chapters import ROOT
from nbformat.v4 import new_code_cell, new_notebook, new_output

from invlib.reproduce.book import chapter
from invlib.reproduce.book.figure_pages import run_notebook
from invlib.reproduce.book.tidy import STATE, VIEW, joined, tidied, widget_names

NOTEBOOKS = sorted((ROOT / "book").rglob("*.ipynb"))
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
CELLS = [
    ("parameters", "profile = 'none'"),
    ("", "import sys, time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(0.3)"),
    ("", "object()"),
    ("", "import pandas as pd\npd.DataFrame({'x': [1, 2]}).style.hide(axis='index')"),
    ("", "pd.DataFrame({'x': [3]}).style.set_table_styles([{'selector': 'td', 'props': 'x:1'}])"),
    (
        "",
        "import ipywidgets as w\nspare = w.Label('spare')\n"
        "stack = w.Stack([w.HTML('a'), w.HTML('b')])\n"
        "slider = w.IntSlider(max=1)\nw.jslink((slider, 'value'), (stack, 'selected_index'))\n"
        "w.VBox([slider, stack])",
    ),
]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    notebook = new_notebook(metadata={"kernelspec": KERNEL})
    notebook.cells = [
        new_code_cell(text, id=f"c{i}", metadata={"tags": [tag]} if tag else {})
        for i, (tag, text) in enumerate(CELLS)
    ]
    path = tmp_path / "page.ipynb"
    nbformat.write(notebook, path)
    return path


def test_a_figure_page_made_twice_is_the_same_file(
    page: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_notebook(page, "tiny")
    first = page.read_bytes()
    run_notebook(page, "tiny")
    assert page.read_bytes() == first
    cells = nbformat.reads(first.decode(), as_version=4).cells
    assert [c.execution_count for c in cells] == [1, 2, 3, 4, 5, 6]
    assert [o.text for o in cells[1].outputs] == ["0\n1\n2\n"]
    assert cells[2].outputs[0].data["text/plain"] == "<object>"
    assert '<td id="T_00001_row1_col0"' in cells[3].outputs[0].data["text/html"]
    assert "#T_00002 td" in cells[4].outputs[0].data["text/html"]
    noise = capfd.readouterr().err
    assert "encryption" not in noise and "Warning" not in noise


def test_a_chapter_is_stored_like_a_figure_page(page: Path) -> None:
    run_notebook(page, "none")
    first = page.read_bytes()
    chapter.main([page])
    assert page.read_bytes() == first


def test_a_chapter_that_computes_too_long_stays_as_it_is(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chapter, "LIMIT", 0.01)
    first = page.read_bytes()
    with pytest.raises(SystemExit, match="computed for"):
        chapter.main([page])
    assert page.read_bytes() == first


def slider(ids: list[str], order: list[int]) -> nbformat.NotebookNode:
    """A box with a button, and a link that points at the button and that nothing shows."""
    box, button, link, layout = ids
    models = [
        {"model_name": "VBox", "state": {"children": [f"IPY_MODEL_{button}"]}},
        {"model_name": "Button", "state": {"layout": f"IPY_MODEL_{layout}"}},
        {"model_name": "Link", "state": {"source": [f"IPY_MODEL_{button}", "value"]}},
        {"model_name": "Layout", "state": {}},
    ]
    cell = new_code_cell("box", id="a", execution_count=7)
    cell.outputs = [new_output("display_data", {VIEW: {"model_id": box}, "text/plain": "VBox()"})]
    state = {ids[i]: models[i] for i in order}
    return new_notebook(cells=[cell], metadata={"widgets": {STATE: {"state": state}}})


def test_widgets_get_the_same_names_whatever_theirs_were() -> None:
    one = tidied(slider(["d", "c", "b", "a"], [0, 1, 2, 3]))
    other = tidied(slider(["w", "x", "y", "z"], [3, 1, 0, 2]))
    assert nbformat.writes(one) == nbformat.writes(other)
    state = one.metadata.widgets[STATE].state
    first = one.cells[0].outputs[0].data[VIEW].model_id
    (child,) = state[first].state.children
    button = child.removeprefix("IPY_MODEL_")
    assert state[button].model_name == "Button"
    links = [m for m in state.values() if m.model_name == "Link"]
    assert [m.state.source for m in links] == [[child, "value"]]
    assert len(state) == 4


def test_names_of_widgets_are_all_different() -> None:
    models = {name: {"state": {"same": 1}} for name in "abc"}
    names = widget_names(["b"], models)
    assert sorted(names) == ["a", "b", "c"] and len({*names.values()}) == 3


def test_a_state_that_nothing_shows_is_dropped() -> None:
    notebook = slider(["d", "c", "b", "a"], [0, 1, 2, 3])
    notebook.cells[0].outputs = []
    assert "widgets" not in tidied(notebook).metadata


def test_what_papermill_and_the_clock_add_is_dropped_and_the_rest_kept() -> None:
    injected = new_code_cell("profile = 1", metadata={"tags": ["injected-parameters"]})
    cell = new_code_cell(
        "1 + 1",
        execution_count=5,
        metadata={"papermill": {"a": 1}, "execution": {"iopub.status.busy": "now"}, "tags": ["x"]},
    )
    cell.outputs = [new_output("execute_result", {"text/plain": "2"}, execution_count=5)]
    notebook = new_notebook(cells=[injected, cell, new_code_cell("")])
    notebook.metadata.papermill = {"input_path": "secret"}
    before = nbformat.writes(notebook)
    page = tidied(notebook)
    assert nbformat.writes(notebook) == before
    assert [c.execution_count for c in page.cells] == [1, None]
    assert page.cells[0].outputs[0]["data"]["text/plain"] == "2"
    assert page.cells[0].outputs[0].execution_count == 1
    assert page.cells[0].metadata == {"tags": ["x"]}
    assert page.metadata == {}


def test_only_what_the_same_stream_prints_in_a_row_is_joined() -> None:
    printed = [("stdout", "a"), ("stdout", "b"), ("stderr", "c"), ("stdout", "d")]
    outputs = [new_output("stream", name=name, text=text) for name, text in printed]
    assert [(o.name, o.text) for o in joined(outputs)] == [
        ("stdout", "ab"),
        ("stderr", "c"),
        ("stdout", "d"),
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: str(p.relative_to(ROOT)))
def test_stored_notebooks_are_in_this_form(path: Path) -> None:
    """If not: ``python -m invlib.reproduce.book.chapter --no-run PAGE``."""
    notebook = nbformat.read(path, as_version=4)
    assert tidied(notebook) == notebook
