"""Tables in Markdown are read as the cells that were written."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from invlib.markdown import table


def read(text: str) -> list[str]:
    """The cells of a table, line by line."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [token.content for token in tokens if token.type == "inline"]


def test_cells_stand_as_they_are() -> None:
    lines = [["1.50", "1e-3", "**yes**"], ["", "007", r"a \| b"]]
    shown = table(["a", "worst", "worst"], lines, right=["worst"])
    assert read(shown) == ["a", "worst", "worst", "1.50", "1e-3", "**yes**", "", "007", "a | b"]


def test_numbers_stand_flush_right() -> None:
    rule = table(["name", "number"], [["a", "1"]], right=["number"]).splitlines()[1]
    assert [part.endswith(":") for part in rule.strip("|").split("|")] == [False, True]


def test_a_table_may_have_no_lines() -> None:
    assert read(table(["a", "b"], [])) == ["a", "b"]


def test_a_line_with_too_many_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="1 columns passed, passed data had 2"):
        table(["a"], [["x", "y"]])
