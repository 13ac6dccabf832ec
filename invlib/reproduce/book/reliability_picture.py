"""The reliability of keys, drawn for the page of results.

``python -m invlib.reproduce.book.reliability_picture`` draws it of ``results/whose.json``. The
caption is stored in the picture, too, so that it can be told whether both are of the same results.
"""

from __future__ import annotations

from pathlib import Path

from ...measured import read_results
from ...plotting import style
from ...round_trip import save
from ..watermark.reliability import caption, draw, pooled
from .marks import put

RESULTS = Path("results/whose.json")
PICTURE = Path("book/images/whose_reliability.png")
PAGE = Path("book/reference/results.md")
ALTERNATIVE = (
    "Two series of five points with error bars along a dotted diagonal: the share of decisions "
    "that is right rises with the stated probability, for both ways of inverting the decoder"
)


def shown(text: str, words: str) -> str:
    """The text of the page with the picture and its caption."""
    return put(
        text, "reliability picture", f"![{ALTERNATIVE}](../images/{PICTURE.name})\n\n*{words}*"
    )


def main(root: Path = Path(".")) -> None:
    """Draw the picture and put it with its caption into the page."""
    bins = pooled(read_results(root / RESULTS))
    words = caption(bins)
    style()
    save(draw(bins), words, root / PICTURE)
    page = root / PAGE
    page.write_text(shown(page.read_text("utf-8"), words), "utf-8")


if __name__ == "__main__":
    main()
