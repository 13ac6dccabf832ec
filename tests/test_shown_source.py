"""The code that a chapter shows is the code that the library has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from chapters import CHAPTERS, installs

from invlib.notebook import source


def calls(node: ast.AST) -> list[ast.Call]:
    """The calls of ``source`` in a piece of code."""
    named = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
    return [n for n in named if isinstance(n.func, ast.Name) and n.func.id == "source"]


def shown(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Of each call of ``source``: itself, what it gives now, and what its cell has shown."""
    names: dict[str, Any] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or installs(cell):
            continue
        tree = ast.parse(cell.source)
        imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), path.name, "exec"), names)
        if found := calls(tree):
            texts = [o.data.get("text/markdown", "") for o in cell.outputs if "data" in o]
            for call in found:
                what = eval(compile(ast.Expression(call.args[0]), path.name, "eval"), names)
                yield ast.unparse(call), source(what).data, texts


SHOWING = [path for path in CHAPTERS if "source(" in path.read_text()]


@pytest.mark.parametrize("path", SHOWING, ids=lambda path: path.stem)
def test_a_chapter_shows_the_library_as_it_is(path: Path) -> None:
    stale = [call for call, now, texts in shown(path) if now not in texts]
    assert stale == [], "execute it again: python -m invlib.reproduce.book.chapter"


def test_code_is_shown_in_many_places() -> None:
    assert len(calls(ast.parse("display(source(f), source(g))\nsource(h)"))) == 3
    assert len(SHOWING) > 10
