"""A chapter needs the installed package and what Colab has, and nothing else.

The fast part; ``make colab`` runs every chapter in an empty folder.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import nbformat
import pytest
from chapters import CHAPTERS, ROOT, installs, steps
from declared import requirements

import invlib
from invlib import measured, notebook

ALONE = [path for path in CHAPTERS if path.stem != "run_on_a_gpu"]  # need no more than `all`
NEWER = (  # names of ipywidgets 8 that 7.7.1 has not
    *("ColorsInput", "DatetimePicker", "FloatsInput", "IntsInput", "NaiveDatetimePicker"),
    *("Stack", "TagsInput", "TimePicker", "TypedTuple"),
)
READERS = ("open", "read_bytes", "read_csv", "read_text", "loadtxt", "load_file")


def nodes(path: Path, *kinds: type[ast.AST]) -> list[Any]:
    """All nodes of some kinds in the code of a notebook."""
    return [n for s in steps(path) for n in ast.walk(ast.parse(s)) if isinstance(n, kinds)]


def per_chapter(function: Any) -> Any:
    return pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)(function)


# --- files


@per_chapter
def test_chapter_reads_no_file_of_the_repository(path: Path) -> None:
    strings = [n.value for n in nodes(path, ast.Constant) if isinstance(n.value, str)]
    assert not [s for s in strings if "../" in s or s.startswith(("results/", "book/"))]
    for call in nodes(path, ast.Call):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        where = call.func.value if isinstance(call.func, ast.Attribute) else None
        photo = where is not None and ast.unparse(where) == "Image"  # the reader's own
        assert name not in READERS or photo, ast.unparse(call)


def test_the_rules_would_notice_what_once_was_there(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell('json.loads(Path("../results/flow.json").read_text())')
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "old.ipynb")
    with pytest.raises(AssertionError):
        test_chapter_reads_no_file_of_the_repository(tmp_path / "old.ipynb")


def test_results_are_those_of_the_checkout_or_come_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured.results("exactness")["rows"]
    with pytest.raises(ValueError, match=r"no measured table 'exactnes'; use one of .*exactness"):
        measured.results("exactnes")
    (tmp_path / "toy.json").write_text('{"rows": [1]}')
    monkeypatch.setattr(measured, "INSTALLED", tmp_path)
    assert measured.results("toy") == {"rows": [1]}
    assert measured.CHECKOUT == ROOT / "results"


# --- widgets


@per_chapter
def test_chapter_makes_its_widgets_by_slides(path: Path) -> None:
    names = {alias.name for n in nodes(path, ast.Import) for alias in n.names}
    names |= {n.module for n in nodes(path, ast.ImportFrom)}
    assert "ipywidgets" not in names


def test_only_one_file_of_the_library_knows_widgets() -> None:
    package = Path(invlib.__file__).parent
    files = [f for f in package.rglob("*.py") if "import ipywidgets" in f.read_text()]
    assert files == [Path(notebook.__file__)]


def test_slides_need_no_widget_that_colab_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEWER:
        monkeypatch.delattr(ipywidgets, name)
    links: list[tuple[Any, Any]] = []
    monkeypatch.setattr(ipywidgets, "jslink", lambda *ends: links.append(ends))
    figures = [plt.figure(figsize=(1, 1)) for _ in range(3)]
    slider, shown, style = notebook.slides(
        figures, alt=["first", "second", "last"], description="frame"
    ).children
    assert slider.max == 2 and 'alt="second"' in shown.children[1].value
    assert shown.selected_index == 0 and shown._dom_classes == ("invlib-frames",)
    assert ".invlib-frames > .p-TabBar" in style.value and style.layout.display == "none"
    assert links == [((slider, "value"), (shown, "selected_index"))]


# --- packages

BEGINNING = """
import importlib.metadata as metadata, re, sys

found, open_ = {"invlib"}, {"ipykernel", *sys.argv[1:]}
while open_:  # all that these need
    name = open_.pop()
    found.add(name)
    try:
        needs = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        continue
    needs = [re.match(r"[\\w.-]+", n)[0] for n in needs if "extra ==" not in n]
    open_ |= {re.sub(r"[-_.]+", "-", n).lower() for n in needs} - found
owners = metadata.packages_distributions().items()
normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()
absent = {m for m, names in owners if not found & {normal(n) for n in names}} - {"_virtualenv"}
assert {"dicebear", "nbformat", "papermill", "torchmetrics"} <= absent, sorted(absent)


class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return self.finder.find_spec(name, path, target) if name not in absent else None


sys.meta_path = [Without(f) for f in sys.meta_path]
"""


def imports() -> list[str]:
    """What the chapters import, but on Colab alone."""
    kinds = (ast.Import, ast.ImportFrom)
    lines = {ast.unparse(n) for path in ALONE for n in nodes(path, *kinds)}
    return sorted(line for line in lines if "google.colab" not in line)


def installed(path: Path) -> list[str]:
    """What a notebook installs on Colab beside invlib."""
    cells = nbformat.read(path, as_version=4).cells
    lines = [line.strip() for cell in cells if installs(cell) for line in cell.source.splitlines()]
    found = [re.fullmatch(r"%pip install -q ([\w ]+)", line) for line in lines]
    return [name for match in found if match for name in match[1].split()]


def assignments(path: Path, *names: str) -> list[str]:
    """The first statements of a notebook that give these names their values."""
    made = {}
    for n in nodes(path, ast.Assign):
        for name in ast.unparse(n.targets[0]).split(", "):
            made.setdefault(name.strip("()"), ast.unparse(n))
    return [made[name] for name in names]


def test_the_core_of_the_package_is_enough() -> None:
    """Every import of a chapter, and the pictures of chapter 13, with the extra ``all`` alone.

    But for those that a chapter installs by itself.
    """
    [editing] = [path for path in ALONE if path.stem == "13_editing"]
    pictures = assignments(editing, "people", "changed", "old_prompts", "pair")
    code = "\n".join([BEGINNING, *imports(), *pictures, "assert pair.mask.any()"])
    more = [name for path in ALONE for name in installed(path)]
    needed = [name for name, _ in requirements("", "all")]
    command = [sys.executable, "-c", code, *needed, *more]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
