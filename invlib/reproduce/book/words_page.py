"""Put the words of results into their pages: ``python -m invlib.reproduce.book.words_page``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...certificate import Certificate
from ...markdown import table
from ...words import FIELDS, FLAGS, REASONS, UNIQUENESS, VERDICTS, Word
from .marks import put

HEAD = ("it says", "what to do")


def explained(head: str, words: Mapping[Any, Word]) -> Callable[[], str]:
    """A table of words, what they say and what to do."""
    lines = [(f"`{said}`", word.meaning, word.remedy) for said, word in words.items()]
    return lambda: table((head, *HEAD), lines)


def fields() -> str:
    """A table of what a certificate holds; what a field is stands in the class's own words."""
    said = attributes(inspect.getdoc(Certificate) or "")
    return table(("field", *HEAD), [(f"`{n}`", said[n], remedy) for n, remedy in FIELDS.items()])


def attributes(doc: str) -> dict[str, str]:
    """The first sentence on each attribute in a docstring, in Markdown."""
    section = doc.partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section, re.MULTILINE | re.DOTALL)
    found = {}
    for name, text in entries:
        first = re.split(r"\.\s|\.$", " ".join(text.split()))[0]
        first = re.sub(r":\w+:`(?:[\w.]+\.(?=\w+\.\w+`))?([\w.]+)`", r"`\1`", first)
        found[name] = first.replace("``", "`")
    return found


TABLES: dict[str, Callable[[], str]] = {
    "fields": fields,
    "reasons": explained("reason", REASONS),
    "verdicts": explained("verdict", VERDICTS),
    "uniqueness": explained("uniqueness", UNIQUENESS),
    "flags": explained("flag", FLAGS),
}
PAGE = Path("book/reference/which_method.md")
CARD = Path("book/reference/certificate_card.md")
PAGES = {PAGE: [name for name in TABLES if name != "fields"], CARD: [*TABLES]}


def filled(text: str, names: Iterable[str]) -> str:
    """The text of a page with its tables made anew."""
    for name in names:
        text = put(text, name, TABLES[name]())
    return text


def main(root: Path = Path(".")) -> None:
    """Fill the pages."""
    for page, names in PAGES.items():
        (root / page).write_text(filled((root / page).read_text(), names))


if __name__ == "__main__":
    main()
