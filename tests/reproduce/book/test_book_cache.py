"""Pages of a toy book are executed when something they depend on has changed, and only then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from invlib.reproduce.book import cache as book
from invlib.reproduce.engine.reached import Reach, present

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
TOC = "format: jb-book\nroot: first\nchapters:\n- file: second\n- file: skipped/third\n"
CONFIG = "execute: {execute_notebooks: cache, timeout: 60, exclude_patterns: [skipped/*]}\n"


def write(path: Path, code: str) -> None:
    note = f"open({str(path.with_suffix('.ran'))!r}, 'a').write('x')"
    cells = [new_markdown_cell("# Title", id="t"), new_code_cell(f"{code}\n_ = {note}", id="a")]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__init__.py").write_text("")
    (tmp_path / "toy" / "one.py").write_text("def value():\n    # a word\n    return 1\n")
    (tmp_path / "toy" / "two.py").write_text("def value():\n    return 2\n")
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "_config.yml").write_text(CONFIG)
    write(tmp_path / "first.ipynb", "import toy.one\nprint(toy.one.value())")
    write(tmp_path / "second.ipynb", "import toy.two\nprint(toy.two.value())")
    write(tmp_path / "skipped" / "third.ipynb", "1 / 0")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def execute(root: Path) -> list[int]:
    """How often the two pages have been executed, after a call."""
    book.main(root, Reach(root / "toy"))
    return ran(root)


def ran(root: Path) -> list[int]:
    files = [root / f"{name}.ran" for name in ("first", "second", "skipped/third")]
    return [len(file.read_text()) if file.exists() else 0 for file in files]


def shown(root: Path, name: str) -> str:
    """What Jupyter Book finds in the cache for a page."""
    notebook = nbformat.read(root / f"{name}.ipynb", as_version=4)
    _, merged = get_cache(str(root / book.CACHE)).merge_match_into_notebook(notebook)
    return "".join(o.text for c in merged.cells if c.cell_type == "code" for o in c.outputs)


def test_only_pages_that_reach_what_changed_are_executed_again(root: Path) -> None:
    assert execute(root) == [1, 1, 0]
    assert (shown(root, "first"), shown(root, "second")) == ("1\n", "2\n")
    assert execute(root) == [1, 1, 0], "nothing has changed"
    (root / "toy" / "two.py").write_text("def value():\n    return 5\n")
    assert execute(root) == [1, 2, 0]
    assert (shown(root, "first"), shown(root, "second")) == ("1\n", "5\n")
    assert len(get_cache(str(root / book.CACHE)).list_cache_records()) == 2


def test_a_page_that_computes_long_is_named_as_long_as_it_is_kept(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"first.ipynb": 31.0, "second.ipynb": 29.0}
    real = book.outputs
    monkeypatch.setattr(
        book, "outputs", lambda page, t: (real(page, t)[0], seconds[page.path.name])
    )
    for _ in range(2):
        assert execute(root) == [1, 1, 0]
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "idle core" in line]
        assert line.startswith("first.ipynb took 31 s, perhaps on a busy")


def test_a_page_that_fails_does_not_cost_the_others(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(root / "second.ipynb", "_ = 1 / 0")
    with pytest.raises(SystemExit, match=r"failed: second\.ipynb; the others are stored"):
        execute(root)
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert ran(root) == [1, 0, 0]
    write(root / "second.ipynb", "print(3)")
    assert execute(root) == [1, 1, 0]
    assert (shown(root, "first"), shown(root, "second")) == ("1\n", "3\n")


def test_what_nbval_finds_as_it_is_stored_is_not_executed_again(root: Path) -> None:
    """A page with another output is, and so is one of which some cells were not run.

    Of cells that nbval does not compare the book shows what they have just given.
    """
    write(root / "skipped" / "third.ipynb", "print(3)")
    (root / "_config.yml").write_text(CONFIG.replace("[skipped/*]", "[]"))
    cache, pages, _ = book.opened(root, present())
    for page in pages:
        notebook, _ = book.outputs(page, 60)
        if page.path.stem == "first":
            notebook.cells[1].metadata.tags = ["nbval-ignore-output"]
        if page.path.stem in ("first", "second"):
            notebook.cells[1].outputs[0].text = "5\n"
        if page.path.stem == "third":
            notebook.cells.append(new_code_cell("left_out = 1", id="b"))
        nbformat.write(notebook, page.path)
    plugin = "invlib.reproduce.book.compared"
    command = [sys.executable, "-m", "pytest", "-p", plugin, "--nbval", "--nbval-current-env"]
    command += [f"--rootdir={root}", "first.ipynb", "second.ipynb", "skipped/third.ipynb::Cell 0"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    records = get_cache(str(root / book.CACHE)).list_cache_records()
    assert [Path(record.uri).stem for record in records] == ["first"]
    assert shown(root, "first") == "1\n"


@pytest.mark.parametrize("damage", ["", None], ids=["half written", "lost"])
def test_a_damaged_cache_is_made_again(root: Path, damage: str | None) -> None:
    write(root / "second.ipynb", "")
    execute(root)
    for file in (root / book.CACHE).rglob("base.ipynb"):
        file.unlink()
        if damage is not None:
            file.write_text(damage)
    assert execute(root) == [2, 2, 0]
    assert shown(root, "first") == "1\n"


def keys(root: Path) -> list[str]:
    found = book.pages(root, ["skipped/*"], Reach(root / "toy"))
    return [page.key for page in found]


@pytest.mark.parametrize(
    ("name", "text", "changed"),
    [
        ("toy/one.py", "def value():\n    # another word\n    return 1\n", [True, False]),
        ("toy/one.py", "# moved\ndef value():\n    # a word\n    return 1\n", [False, False]),
        ("toy/weights.bin", "7", [True, True]),
        ("results/table.json", "{}", [True, True]),
    ],
)
def test_what_a_page_depends_on(root: Path, name: str, text: str, changed: list[bool]) -> None:
    """Comments count inside a definition that the page may show, and not outside."""
    before = keys(root)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text)
    assert [a != b for a, b in zip(before, keys(root), strict=True)] == changed


def test_the_metadata_of_a_cell_counts_and_its_text_cells_do_not(root: Path) -> None:
    before = keys(root)
    for name, place in (("first", 0), ("second", 1)):
        notebook = nbformat.read(root / f"{name}.ipynb", as_version=4)
        notebook.cells[place].metadata["tags"] = ["hide-input"]
        nbformat.write(notebook, root / f"{name}.ipynb")
    assert [a != b for a, b in zip(before, keys(root), strict=True)] == [False, True]


def test_commands_to_ipython_are_read(root: Path) -> None:
    write(root / "first.ipynb", "if False:\n    %pip install toy\nfrom toy import one\none.value()")
    before = keys(root)
    (root / "toy" / "one.py").write_text("def value():\n    return 4\n")
    assert keys(root)[0] != before[0]


def test_what_chapters_do_not_see_may_be_installed_between_two_builds() -> None:
    names = {entry.partition("==")[0].lower() for entry in book.versions()}
    assert {"torch", "diffusers", "jupyter-book", "matplotlib"} <= names
    assert not names & {"playwright", "pip"}  # one is of `make browser`
