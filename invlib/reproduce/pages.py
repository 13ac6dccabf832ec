"""Put the measured tables into the pages that show them: ``python -m invlib.reproduce.pages``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .. import rehearsal
from . import bench_tables, decoder_memory, decoding, exactness, flow, reversible

TABLES: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {  # and the files that it shows
    "exactness": (exactness.markdown, ("exactness",)),
    "decoding": (decoding.markdown, ("decoding", "identical")),
    "decoder_memory": (decoder_memory.markdown, ("decoder_memory",)),
    "bench": (bench_tables.markdown, ("bench",)),
    "rehearsal": (rehearsal.markdown, ("rehearsal",)),
    "flow": (flow.markdown, ("flow",)),
    "reversible": (reversible.markdown, ("reversible", "exactness")),
    "reversible_quality": (reversible.markdown_quality, ("reversible",)),
}
PAGES = (
    "README.md",
    "book/reference/results.md",
    "book/reference/reversible.md",
    "book/reference/flow.md",
)


def filled(root: Path, page: str) -> str:
    """The text of a page with its tables made from ``results/``.

    A table NAME stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``.
    """
    text = (root / page).read_text()
    for name, (markdown, files) in TABLES.items():
        if f"<!-- {name} -->" not in text:
            continue
        table = markdown(*(json.loads((root / f"results/{f}.json").read_text()) for f in files))
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
