"""Put the words of results into their page: ``python -m invlib.reproduce.book.words_page``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...markdown import table
from ...words import FLAGS, REASONS, UNIQUENESS, VERDICTS, Word
from .marks import put

PAGE = Path("book/reference/which_method.md")
TABLES: dict[str, tuple[str, Mapping[Any, Word]]] = {
    "reasons": ("reason", REASONS),
    "verdicts": ("verdict", VERDICTS),
    "uniqueness": ("uniqueness", UNIQUENESS),
    "flags": ("flag", FLAGS),
}


def filled(text: str) -> str:
    """The text of the page with its tables made anew."""
    for name, (head, words) in TABLES.items():
        lines = [(f"`{said}`", word.meaning, word.remedy) for said, word in words.items()]
        text = put(text, name, table((head, "it says", "what to do"), lines))
    return text


def main(root: Path = Path(".")) -> None:
    """Fill the page."""
    (root / PAGE).write_text(filled((root / PAGE).read_text()))


if __name__ == "__main__":
    main()
