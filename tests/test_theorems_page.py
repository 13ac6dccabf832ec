"""The page of all theorems is made from the chapters, and says what each of them needs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from chapters import CHAPTERS, ROOT

from invlib.reproduce.book import theorems_page
from invlib.reproduce.book.theorems_page import Statement, chapters, section, statements

TEXT = """# A page

:::{prf:theorem} All is well
:label: thm-a

% needs: $x > 0$

It is.
:::

:::{prf:corollary} So is this
:label: thm-a-too

It is, too.
:::
"""


def page(text: str, printed: str) -> nbformat.NotebookNode:
    """A notebook of one text and one cell that has printed something."""
    new = nbformat.v4
    cell = new.new_code_cell("", outputs=[new.new_output("stream", text=printed)])
    return new.new_notebook(cells=[new.new_markdown_cell(text), cell])


def test_a_statement_has_its_needs_and_the_claims_that_name_it() -> None:
    printed = (
        "ok  thm-a: x < 1\nthm-a is not claimed here\nok  thm-a-too = 2\nok  thm-a, again > 0\n"
    )
    assert statements(page(TEXT, printed)) == [
        Statement("All is well", "thm-a", "$x > 0$", ("thm-a: x < 1", "thm-a, again > 0")),
        Statement("So is this", "thm-a-too", "", ("thm-a-too = 2",)),
    ]


def test_a_page_without_statements_has_no_table() -> None:
    assert section(Path("book/01.ipynb"), page("# Nothing", "")) == ""
    shown = section(Path("book/01.ipynb"), page(TEXT, "ok  thm-a: |x| < 1\n"))
    assert shown.startswith("## [A page](../01.ipynb)")
    assert "| {prf:ref}`thm-a` *All is well* (`thm-a`) | $x > 0$ | 1 |" in shown
    assert "| {prf:ref}`thm-a-too` *So is this* (`thm-a-too`) |  | none |" in shown
    assert "- {prf:ref}`thm-a`: `|x| < 1`\n:::" in shown


def test_all_claims_of_a_statement_are_shown() -> None:
    printed = "ok  thm-a: x < 1\nok  thm-a, again > 0\nok  thm-a-too = 2\n"
    shown = section(Path("book/01.ipynb"), page(TEXT, printed))
    assert "- {prf:ref}`thm-a`: `x < 1`; `again > 0`\n- {prf:ref}`thm-a-too`: `= 2`\n" in shown


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_statement_says_what_it_needs(path: Path) -> None:
    found = statements(nbformat.read(path, as_version=4))
    assert [one.label for one in found if not one.needs] == []


def test_all_statements_of_all_chapters_are_listed() -> None:
    text = (ROOT / theorems_page.PAGE).read_text()
    labels = [one.label for _, page in chapters(ROOT) for one in statements(page)]
    assert len(labels) > 90
    assert [label for label in labels if f"{{prf:ref}}`{label}`" not in text] == []


def test_the_page_is_up_to_date() -> None:
    text = (ROOT / theorems_page.PAGE).read_text()
    assert text == theorems_page.filled(ROOT, text)
