"""All figures in a folder of one's own: planned, done, drawn, packed, and taken up again."""

from __future__ import annotations

import ast
import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest
import setuptools
from chapters import ROOT

from invlib.reproduce.elsewhere import Plan, costs, draw, drawing, pictures, plan
from invlib.reproduce.elsewhere.costs import Evaluation, evaluations
from invlib.reproduce.elsewhere.plan import BUDGET
from invlib.reproduce.figures.registry import FIGURES
from invlib.reproduce.models import checking

PAGE = ROOT / "book/run_on_a_gpu.ipynb"
COSTS = costs.__globals__  # of the module


def tiny(folder: Path, *names: str):
    return plan("tiny", names, folder)


# --- planning


def test_a_plan_has_what_was_asked_for_or_all_of_the_profile(tmp_path: Path) -> None:
    assert [f.name for f in tiny(tmp_path, "fig4", "fig1").figures] == ["fig4", "fig1"]
    assert {f.name for f in tiny(tmp_path).figures} == {*FIGURES}
    assert tiny(tmp_path / "new").folder.is_dir()
    assert plan("tiny", ["fig1"]).folder != plan("tiny", ["fig1"]).folder


@pytest.mark.parametrize(
    ("profile", "names", "message"),
    [
        ("huge", None, "unknown profile 'huge'"),
        ("tiny", ["fig1", "fig9"], "has no figure fig9; use some of abstract"),
        ("paper", ["fig6"], "has no figure fig6"),
    ],
)
def test_what_cannot_be_made_is_refused(
    profile: str, names: list[str] | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        plan(profile, names, tmp_path)


def test_the_paper_needs_a_gpu_and_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="needs a CUDA GPU"):
        plan("paper", None, tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- costs


def test_evaluations_are_those_of_the_stored_results() -> None:
    assert evaluations(FIGURES["fig1"]) == {}  # a formula, no network
    stored = json.loads((ROOT / "results/runtime.json").read_text())["rows"]
    expected = sum(row["nfe"] * row["images"] for row in stored)
    assert evaluations(FIGURES["runtime"]) == {"latent": expected}
    counted = evaluations(FIGURES["fig2"])
    assert counted and set(counted) == {"pixel", "latent"} and min(counted.values()) > 1000
    assert evaluations(FIGURES["watermark"]) is None


def test_costs_count_what_is_left_and_say_what_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"pixel": Evaluation(0.5, 1e9), "latent": Evaluation(2.0, 3e9)}
    monkeypatch.setitem(COSTS, "measure", lambda profile: one)
    text = costs(tiny(tmp_path, "abstract", "watermark"))
    number = evaluations(FIGURES["abstract"])["latent"]
    assert f"| abstract | 1 of 1 | {number:.0f} | {2 * number / 60:.0f} min |" in text
    assert "| watermark | 26 of 26 | not counted | not counted |" in text
    assert "latent: 2e+03 ms, 3.0 GB" in text and "GB free" in text


def test_the_paper_says_what_its_owner_has_to_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plan.__globals__, "check", lambda profile: None)
    monkeypatch.setattr(Plan, "fetch", lambda self: None)
    monkeypatch.setitem(COSTS, "measure", lambda profile: {"latent": Evaluation(0.1, 1e10)})
    chosen = plan("paper", ["abstract"], tmp_path)
    text = costs(chosen)
    assert chosen.workers == 1 and "* a CUDA GPU with about 20 GB of memory" in text
    assert "nobody has run it yet on its real models" in text
    assert "3.5 GB are the weights" in text


def test_an_evaluation_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    (pixel, latent) = COSTS["spaces"]("tiny", 1)
    for space in (pixel, latent):
        one = COSTS["evaluation"](space)
        assert 0 < one.seconds < 60 and 1e8 < one.memory < 1e11


# --- the page


def test_a_page_that_stops_keeps_what_it_made(tmp_path: Path, monkeypatch) -> None:
    page = tmp_path / "page.ipynb"
    cells = [
        nbformat.v4.new_code_cell(source)
        for source in ('profile = "tiny"', "print(profile)", 'raise ValueError("not here")')
    ]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), page)
    monkeypatch.setattr(drawing, "source", lambda figure: page)
    chosen = tiny(tmp_path / "folder", "fig4")
    assert draw(chosen) == {"fig4": "ValueError: not here"}
    assert "tiny" in chosen.page(chosen.figures[0]).read_text()
    assert [*pictures(chosen)] == []
    assert chosen.pack().exists()


def notebook(sources: list[str]) -> nbformat.NotebookNode:
    """A page: its title, its parameter, and cells."""
    title = nbformat.v4.new_markdown_cell("# Title")
    parameter = nbformat.v4.new_code_cell('profile = "tiny"', metadata={"tags": ["parameters"]})
    cells = [title, parameter, *map(nbformat.v4.new_code_cell, sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


def test_a_full_size_page_says_what_it_is_and_keeps_what_is_false(
    tmp_path: Path, monkeypatch
) -> None:
    page = tmp_path / "page.ipynb"
    sources = ["from invlib.claims import claim", 'claim("it is small", 2.0, below=1)']
    sources += ['claim("it is large", 2.0, above=1)']
    nbformat.write(notebook(sources), page)
    monkeypatch.setattr(drawing, "source", lambda figure: page)
    models = [{"name": "model", "place": "someone/model", "commit": "1234", "sha256": {}}]
    folder = tmp_path / "folder"
    chosen = Plan("paper-rehearsal", (FIGURES["fig4"],), folder, 1)
    (folder / "results/paper-rehearsal").mkdir(parents=True)
    record = {"models": models, "mark": "random weights: rehearsal"}
    (folder / "results/paper-rehearsal/models.json").write_text(json.dumps(record))
    assert draw(chosen) == {"fig4": "drawn; 1 of 2 claims do not hold here"}
    written = chosen.page(FIGURES["fig4"]).read_text()
    sources[1:1] = ["1 / 0"]
    nbformat.write(notebook(sources), page)
    assert draw(chosen) == {"fig4": "ZeroDivisionError: division by zero"}
    again = chosen.page(FIGURES["fig4"]).read_text()
    assert "does not hold here: it is small" in again  # the other cells were run
    for word in ("random weights: rehearsal", "someone/model", "does not hold here: it is small"):
        assert word in written


def test_a_rehearsal_cuts_searches_short_unless_they_are_looked_into(tmp_path: Path) -> None:
    chosen = Plan("paper-rehearsal", (FIGURES["fig1"], FIGURES["fig4"]), tmp_path, 1)
    first, fourth = (chosen.cells(figure)[0] for figure in chosen.figures)
    assert first.budget is None and fourth.budget == BUDGET
    assert all(
        cell.budget is None for cell in Plan("paper", (), tmp_path, 1).cells(FIGURES["fig4"])
    )


def test_without_numbers_there_is_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="draw the figures first"):
        tiny(tmp_path, "fig1").pack()


# --- in a wheel


def test_the_pages_come_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    package = f"invlib.{drawing.INSTALLED.name}"
    assert package in given["packages"] and given["package_data"][package] == ["*.ipynb"]
    assert given["package_dir"][package] == "book/figures"
    assert "include book/figures/*.ipynb" in (ROOT / "MANIFEST.in").read_text()
    assert drawing.source(FIGURES["fig2"]) == ROOT / "book/figures/fig2.ipynb"
    (tmp_path / "fig2.ipynb").write_text("")
    monkeypatch.setattr(drawing, "INSTALLED", tmp_path)
    assert drawing.source(FIGURES["fig2"]) == tmp_path / "fig2.ipynb"


def test_the_page_installs_what_its_work_and_its_pages_need() -> None:
    """Beyond what a chapter needs, which Colab has; a kernel is there where a page runs."""
    text = "\n".join(cell.source for cell in nbformat.read(PAGE, as_version=4).cells)
    [needed] = map(ast.literal_eval, re.findall(r"^needed = (.*)$", text, re.MULTILINE))
    beyond = {name for name, extra in checking.PACKAGES.items() if extra in ("book", "paper")}
    assert {*needed} == beyond - {"ipykernel"}
