"""Put the words of results into the page about them: ``python -m invlib.reproduce.words_page``."""

from __future__ import annotations

import re
from pathlib import Path

from .. import words

PAGE = Path("book/reference/which_method.md")
TABLES = {
    "reasons": words.table(words.REASONS, "reason"),
    "verdicts": words.table(words.VERDICTS, "verdict"),
    "uniqueness": words.table(words.UNIQUENESS, "uniqueness"),
    "flags": words.table(words.FLAGS, "flag"),
}


def filled(text: str) -> str:
    """The text of the page with its tables made anew.

    Raises:
        ValueError: if the page has no place for a table.
    """
    for name, shown in TABLES.items():
        place = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, count = re.subn(place, rf"\1\n{shown}\n\n\2", text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{PAGE} has no place for the table {name}")
    return text


def main(root: Path = Path(".")) -> None:
    """Fill the page."""
    (root / PAGE).write_text(filled((root / PAGE).read_text()))


if __name__ == "__main__":
    main()
