"""List all statements on one page: ``python -m invlib.reproduce.book.theorems_page``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from ...markdown import table
from .marks import put

PAGE = Path("book/reference/theorems.md")
STATEMENT = re.compile(
    r"^:::\{prf:(?:theorem|lemma|proposition|corollary)\} (?P<title>.+)\n"
    r":label: (?P<label>\S+)\n"
    r"(?:\n% needs: (?P<needs>.+)\n)?",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Statement:
    """A numbered statement of a chapter.

    Attributes:
        title: its title.
        label: its label.
        needs: its hypotheses in one line, the comment below its label; empty if there is none.
        claims: the lines that claims on its page print and that name it.
    """

    title: str
    label: str
    needs: str
    claims: tuple[str, ...]


def chapters(root: Path) -> Iterator[tuple[Path, nbformat.NotebookNode]]:
    """All notebooks, in the order of the book."""
    for name in re.findall(r"file: (\S+)", (root / "_toc.yml").read_text()):
        path = Path(f"{name}.ipynb")
        if (root / path).exists():
            yield path, nbformat.read(root / path, as_version=4)


def statements(notebook: nbformat.NotebookNode) -> list[Statement]:
    """All statements of a notebook, with the claims that it has stored."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    printed = "".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    )
    lines = [line[4:] for line in printed.splitlines() if line.startswith("ok  ")]
    return [
        Statement(
            found["title"],
            found["label"],
            found["needs"] or "",
            tuple(line for line in lines if re.search(rf"{found['label']}(?![\w-])", line)),
        )
        for found in STATEMENT.finditer(text)
    ]


def section(path: Path, notebook: nbformat.NotebookNode) -> str:
    """The heading and the table of one page."""
    title = re.sub(r"^#\s*", "", notebook.cells[0].source.splitlines()[0])
    found = statements(notebook)
    if not found:
        return ""
    lines = [
        (
            f"{{prf:ref}}`{one.label}` *{one.title}* (`{one.label}`)",
            one.needs,
            str(len(one.claims) or "none"),
        )
        for one in found
    ]
    shown = table(("statement", "it needs", "claims that test it"), lines)
    listed = "\n".join(f"- {claims(one)}" for one in found if one.claims)
    folded = f":::{{dropdown}} All claims of this page\n{listed}\n:::\n" if listed else ""
    return f"## [{title}](../{path.relative_to('book')})\n\n{shown}\n\n{folded}"


def claims(one: Statement) -> str:
    """The claims of a statement, its label said once."""
    said = [re.sub(rf"^{re.escape(one.label)}[:,]? *", "", line) for line in one.claims]
    return f"{{prf:ref}}`{one.label}`: " + "; ".join(f"`{line}`" for line in said)


def filled(root: Path, text: str) -> str:
    """The text of the page with its tables made anew."""
    tables = filter(None, (section(*chapter) for chapter in chapters(root)))
    return put(text, "theorems", "\n" + "\n".join(tables).rstrip())


def main(root: Path = Path(".")) -> None:
    """Fill the page."""
    (root / PAGE).write_text(filled(root, (root / PAGE).read_text()))


if __name__ == "__main__":
    main()
