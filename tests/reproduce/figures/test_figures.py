"""The figures: what they are made of, and when their pages are made again."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import nbformat
import pytest
from chapters import ROOT

from invlib.reproduce import __main__ as reproduce
from invlib.reproduce.book import figure_pages
from invlib.reproduce.figures import registry as figures
from invlib.reproduce.figures.registry import FIGURES, Figure


@pytest.mark.parametrize("figure", FIGURES.values(), ids=list(FIGURES))
def test_the_work_of_a_figure_can_be_sent_and_told_apart(figure: Figure) -> None:
    cells = figure.cells("tiny")
    assert cells
    assert len({str(cell.config) for cell in cells}) == len(cells)
    assert [cell.config for cell in pickle.loads(pickle.dumps(cells))] == [c.config for c in cells]


@pytest.mark.parametrize("figure", FIGURES.values(), ids=list(FIGURES))
def test_every_figure_has_a_page_with_outputs_and_stored_numbers(figure: Figure) -> None:
    notebook = nbformat.read(figure.notebook, as_version=4)
    assert any(c.get("outputs") for c in notebook.cells)
    assert (ROOT / figures.results(figure.name, "tiny")).exists()


def test_every_notebook_of_a_figure_is_made() -> None:
    notebooks = {path.stem for path in (ROOT / "book" / "figures").glob("*.ipynb")}
    assert notebooks == set(FIGURES)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """A figure without work, whose notebook writes the seven."""
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figure_pages, "ROOT", tmp_path)
    figure = Figure("test", lambda profile: [])
    figure.notebook.parent.mkdir(parents=True)
    (tmp_path / "results").mkdir()
    source = "from pathlib import Path\nPath('../../results/test.json').write_text('7')"
    cells = [nbformat.v4.new_code_cell("profile = 'tiny'", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), figure.notebook)
    return figure


def test_a_page_is_run_when_it_must_be_and_only_then(
    page: Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def state() -> str:
        figure_pages.refresh(page, "tiny", tmp_path)
        return "new" if "wrote" in capsys.readouterr().out else "kept"

    values = tmp_path / "results" / "test.json"
    assert state() == "new"
    assert values.read_text() == "7"
    assert state() == "kept"
    values.unlink()
    assert state() == "new"
    assert values.read_text() == "7"
    values.write_text("8")  # somebody changed it by hand
    assert state() == "new"
    assert values.read_text() == "7"
    monkeypatch.setattr(figures, "code_of_text", lambda text: "other code")
    assert state() == "new"
    assert state() == "kept"


def test_the_command_ends_with_one_line_that_says_where_to_look(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    states = {"one": "written", "two": "up to date", "three": "written"}
    some = {name: Figure(name, lambda profile: []) for name in states}
    monkeypatch.setattr(reproduce, "FIGURES", some)
    monkeypatch.setattr(reproduce, "refreshed", lambda figure, profile: states[figure.name])
    monkeypatch.setattr(reproduce.pages, "main", lambda root: None)
    monkeypatch.setattr(reproduce.os, "chdir", lambda folder: None)
    reproduce.main(only=list(states), engine="serial")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Pages: 2 written, 1 up to date.")
    assert all(place in line for place in ("results/", "book/figures/", "`make book`"))
    states["two"] = "failed"
    with pytest.raises(SystemExit, match="pages that failed: two"):
        reproduce.main(only=list(states), engine="serial")
    assert "1 failed" in capsys.readouterr().out


def test_a_profile_that_cannot_make_a_figure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce.os, "chdir", lambda folder: None)
    with pytest.raises(SystemExit, match="fig6 cannot be made with profile 'paper'"):
        reproduce.main(profile="paper", only=["fig6"])


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(SystemExit, match="unknown figure 'fig99'"):
        reproduce.main(only=["fig99"])


def test_pages_whose_work_is_done_are_drawn_even_if_other_work_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    one, two = Figure("fig1", lambda profile: []), Figure("fig4", lambda profile: [])
    plan = reproduce.Plan("paper", (one, two), tmp_path, 1)

    def work(self: Any, engine: Any) -> None:
        raise RuntimeError("1 cells failed")

    monkeypatch.setattr(reproduce.Plan, "fetch", lambda self: None)
    monkeypatch.setattr(reproduce.Plan, "work", work)
    monkeypatch.setattr(reproduce.Plan, "left", lambda self, figure: int(figure is two))
    monkeypatch.setattr(reproduce, "draw", lambda plan: {f.name: "drawn" for f in plan.figures})
    with pytest.raises(SystemExit, match="1 cells failed; pages that failed: fig4"):
        reproduce.apart(plan, lambda cells: iter(()))
    assert "fig1: drawn" in capsys.readouterr().out
