"""The picture on the first pages: ``python -m invlib.reproduce.book.readme_picture``.

It is what ``invlib demo`` draws. The numbers of the caption are measured in the same run, and
stored with the picture.
"""

from __future__ import annotations

from pathlib import Path

from ...round_trip import Setting, caption, compare, draw, save
from .marks import put

PICTURE = Path("book/images/round_trip.png")
PAGES = (Path("README.md"), Path("book/intro.md"))
ALTERNATIVE = (
    "A portrait; beside it what naive and exact inversion sample again from the noises that they "
    "found, and the differences: clear ones for naive inversion, none to be seen for exact"
)


def captioned(text: str, words: str, page: Path) -> str:
    """The text of a page with the picture and its caption."""
    path = PICTURE.relative_to(page.parent).as_posix()
    return put(text, "round trip", f"![{ALTERNATIVE}]({path})\n\n*{words}*")


def main(root: Path = Path(".")) -> None:
    """Make the picture and put its caption into the pages."""
    shown = compare(Setting(), progress=None)
    words = caption(shown)
    (root / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    save(draw(shown), words, root / PICTURE)
    for page in PAGES:
        path = root / page
        path.write_text(captioned(path.read_text("utf-8"), words, page), "utf-8")


if __name__ == "__main__":
    main()
