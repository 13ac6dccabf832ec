"""Put the measured tables into the pages that show them: ``python -m invlib.reproduce.pages``."""

from __future__ import annotations

import json
from pathlib import Path

from .. import rehearsal
from . import decoding, exactness

TABLES = {
    "exactness": exactness.markdown,
    "decoding": decoding.markdown,
    "rehearsal": rehearsal.markdown,
}
PAGES = ("README.md", "book/reference/results.md")


def filled(root: Path, page: str) -> str:
    """The text of a page with its tables made from ``results/``.

    A table NAME stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``.
    """
    text = (root / page).read_text()
    for name, markdown in TABLES.items():
        if f"<!-- {name} -->" not in text:
            continue
        table = markdown(json.loads((root / "results" / f"{name}.json").read_text()))
        before, _, rest = text.partition(f"<!-- {name} -->")
        after = rest.partition(f"<!-- /{name} -->")[2]
        text = f"{before}<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->{after}"
    return text


def main(root: Path = Path(".")) -> None:
    """Fill all pages."""
    for page in PAGES:
        (root / page).write_text(filled(root, page))


if __name__ == "__main__":
    main()
