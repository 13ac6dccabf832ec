"""The exercises of a chapter without their solutions, as a notebook to write into."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .asked import Exercise, Named, exercises, named, plain
from .stored import Cell, cells, shown, values

ALWAYS = ("torch", "math", "invlib")  # what a solution may need, if the chapter imports it
HOW = "Write your lines and run the cell, until it says *ok*. Solutions stand in the chapter."


def definitions(chapter: Iterable[Cell]) -> list[tuple[set[str], str]]:
    """The imports and functions of a chapter: the names of each, and its source."""
    found = []
    for cell in chapter:
        if cell.kind != "code" or "%pip" in cell.source:
            continue
        for node in ast.parse(cell.source).body:
            match node:
                case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                    new = {alias.asname or alias.name.partition(".")[0] for alias in aliases}
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    new = {name}
                case _:
                    continue
            found.append((new, ast.get_source_segment(cell.source, node) or ""))
    return found


def used(source: str) -> set[str]:
    """The names that a source reads and does not bind itself, anywhere."""
    nodes = [*ast.walk(ast.parse(source))]
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return read - bound - {n.arg for n in nodes if isinstance(n, ast.arg)}


def answers(exercise: Exercise) -> Iterator[str]:
    """The functions of a solution, which tell what a reader's own may need."""
    for cell in exercise.solution:
        for node in ast.parse(cell).body:
            if isinstance(node, ast.FunctionDef):
                yield ast.get_source_segment(cell, node) or ""


def setup(chapter: Sequence[Cell], found: Sequence[Exercise]) -> str:
    """The lines of a chapter that its exercises stand on, in their order."""
    own = {cell for e in found for cell in (*e.stubs, *e.solution)}
    known = definitions(cell for cell in chapter if cell.source not in own)
    wanted = {*ALWAYS}.union(*(used(cell) for e in found for cell in (*e.stubs, *answers(e))))
    taken: set[int] = set()
    while new := [k for k, (n, _) in enumerate(known) if n & wanted and k not in taken]:
        taken.update(new)
        wanted.update(*(used(known[k][1]) for k in new))
    lines = dict.fromkeys(source for k, (_, source) in enumerate(known) if k in taken)
    apart = ("\n\n\n" if source.startswith(("def", "class")) else "\n" for source in lines)
    return "".join(gap + source for gap, source in zip(apart, lines, strict=True)).strip()


def notebook(chapter: Sequence[Cell], names: Named) -> dict[str, Any]:
    """The exercises of a chapter as a notebook: question, empty cell, check; no solution."""
    title = next(c.source for c in chapter if c.kind == "markdown").splitlines()[0].strip("# ")
    found, known = exercises(chapter), values(chapter)
    install = [c.source for c in chapter if c.kind == "code" and "%pip" in c.source]
    parts = [("markdown", f"# Exercises: {title}\n\n{HOW}")]
    parts += [("code", source) for source in (*install, setup(chapter, found)) if source]
    for number, e in enumerate(found, 1):
        question = plain(shown(e.question, known), names)
        parts.append(("markdown", f"## {number}. {e.title}\n\n{question}"))
        parts += [("code", stub) for stub in e.stubs]
        if not e.stubs:
            parts.append(("markdown", "*Your answer:*"))
    return {
        "cells": [_cell(f"cell-{k}", *part) for k, part in enumerate(parts)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(name: str, kind: str, source: str) -> dict[str, Any]:
    code: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {
        "cell_type": kind,
        "id": name,
        "metadata": {},
        "source": source.splitlines(keepends=True),
        **code,
    }


def write(book: Path, folder: Path) -> list[Path]:
    """Write a notebook with the exercises of every chapter.

    Args:
        book: the folder with the chapters.
        folder: where the notebooks go; it is made.

    Returns:
        The files, in the order of the chapters.

    Raises:
        FileNotFoundError: if there are no chapters.
        FileExistsError: if a notebook is there already, since somebody may have worked in it.
    """
    chapters = {path: cells(path) for path in sorted(book.glob("[0-9]*.ipynb"))}
    if not chapters:
        raise FileNotFoundError(f"no chapters in {book}: run it in a clone, or give --book")
    names = named(chapters.values())
    files = {folder / p.name: chapter for p, chapter in chapters.items() if exercises(chapter)}
    if there := [str(file) for file in files if file.exists()]:
        raise FileExistsError(f"{there[0]} is there already: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file, chapter in files.items():
        file.write_text(json.dumps(notebook(chapter, names), indent=1, ensure_ascii=False) + "\n")
    return [*files]
