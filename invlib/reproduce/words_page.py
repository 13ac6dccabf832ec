"""Put the words of results into the page about them: ``python -m invlib.reproduce.words_page``."""

from __future__ import annotations

from pathlib import Path

from .. import words
from .marks import put

PAGE = Path("book/reference/which_method.md")
TABLES = {
    "reasons": words.table(words.REASONS, "reason"),
    "verdicts": words.table(words.VERDICTS, "verdict"),
    "uniqueness": words.table(words.UNIQUENESS, "uniqueness"),
    "flags": words.table(words.FLAGS, "flag"),
}


def filled(text: str) -> str:
    """The text of the page with its tables made anew."""
    for name, shown in TABLES.items():
        text = put(text, name, shown)
    return text


def main(root: Path = Path(".")) -> None:
    """Fill the page."""
    (root / PAGE).write_text(filled((root / PAGE).read_text()))


if __name__ == "__main__":
    main()
