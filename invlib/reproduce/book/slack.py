"""How far claims are from their bounds: ``python -m invlib.reproduce.book.slack PAGES``.

The values are kept in ``book/claims.json``. A bound that is more than a factor of 10 away says
little about the number, and needs its reason beside it, ``claim(..., why="...")``; a test asks
for it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import nbformat
import typer

from ...claims import RECORD, WIDE
from ...measured import read_results
from ...whole import write_text
from ..engine.store import ROOT
from .kernel import execute

FILE = Path("book/claims.json")
Entries = Mapping[str, Mapping[str, Any]]  # a claim as it is printed: its value, slack, place, why


def recorded(notebook: nbformat.NotebookNode, folder: Path) -> dict[str, Any]:
    """Run a notebook, and return what its claims note; not those of notebooks that it runs.

    Args:
        notebook: it is changed, as by :func:`~invlib.reproduce.book.kernel.execute`.
        folder: where the kernel runs.
    """
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "claims.json"
        execute(notebook, folder, environment={RECORD: str(file)})
        known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    here = printed(notebook)
    return {line: entry for line, entry in known.items() if line in here}


def printed(notebook: nbformat.NotebookNode) -> set[str]:
    """The lines of claims, and of the checks of exercises, in the outputs of a notebook."""
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    text = "\n".join(o.text for o in outputs if o.output_type == "stream")
    return {line[4:] for line in text.split("\n") if line.startswith("ok  ")}


def keep(page: Path, entries: Entries, root: Path = ROOT) -> None:
    """Store what the claims of a page of the book noted; of a page elsewhere nothing is kept."""
    if not (entries and page.resolve().is_relative_to(root.resolve())):
        return
    file = root / FILE
    known = read_results(file) if file.exists() else {}
    short = {line: {key: _short(value) for key, value in e.items()} for line, e in entries.items()}
    known[page.resolve().relative_to(root.resolve()).as_posix()] = short
    write_text(file, _laid_out(known))


def _short(value: Any) -> Any:
    """A number with three digits, or each of several; anything else as it is."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _laid_out(known: Mapping[str, Entries]) -> str:
    """JSON with one claim a line."""
    dump = partial(json.dumps, ensure_ascii=False)
    pages = []
    for name, entries in sorted(known.items()):
        lines = ",\n".join(f"{dump(line)}: {dump(entry)}" for line, entry in entries.items())
        pages.append(f"{dump(name)}: {{\n{lines}\n}}")
    return "{\n" + ",\n".join(pages) + "\n}\n"


def loose(entries: Entries) -> list[str]:
    """The claims whose bound is too far away, without a reason.

    A claim that is made of several things, in a loop, has one bound for all of them, and needs a
    reason if it is wide for any.

    Args:
        entries: of one page.
    """
    wide = [(line, e["slack"]) for line, e in entries.items() if not e.get("why")]
    return [f"{line} (slack {room:.3g})" for line, room in wide if room > WIDE]


def main(
    pages: Annotated[list[Path], typer.Argument(help="notebooks", exists=True, dir_okay=False)],
) -> None:
    """Run notebooks without storing them, note their claims, and name the loose ones."""
    for page in pages:
        entries = recorded(nbformat.read(page, as_version=4), page.parent)
        keep(page, entries)
        print(f"{page}: {len(entries)} claims", *loose(entries), sep="\n  ", flush=True)


if __name__ == "__main__":
    typer.run(main)
