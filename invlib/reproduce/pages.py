"""Put the measured tables into the pages that show them: ``python -m invlib.reproduce.pages``."""

from __future__ import annotations

import json
import re
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
        block = f"<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->"
        pattern = f"<!-- {name} -->.*?<!-- /{name} -->"
        text = re.sub(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
    return text


def main(root: Path = Path(".")) -> None:
    """Fill all pages."""
    for page in PAGES:
        (root / page).write_text(filled(root, page))


if __name__ == "__main__":
    main()
