"""The built book in one zip file: ``python -m invlib.reproduce.book.offline``."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from ..engine.store import ROOT

BOOK, ARCHIVE, FOLDER = Path("_build/html"), Path("_build/invlib-course.zip"), "invlib-course"
LEFT_OUT = (".buildinfo", ".doctrees", "404.html")  # nothing that a page leads to


def main(root: Path = ROOT) -> None:
    """Pack the pages, with all that they load, into a folder of a zip file.

    Args:
        root: folder of the repository, in which the book was built.
    """
    book = root / BOOK
    if not (book / "index.html").is_file():
        sys.exit(f"there is no {BOOK / 'index.html'}: run `make book` first")
    files = [f for f in sorted(book.rglob("*")) if f.is_file()]
    wanted = [f for f in files if f.relative_to(book).parts[0] not in LEFT_OUT]
    unfinished = (root / ARCHIVE).with_suffix(".tmp")
    with ZipFile(unfinished, "w", ZIP_DEFLATED) as archive:
        for file in wanted:
            archive.write(file, Path(FOLDER, file.relative_to(book)))
    unfinished.replace(root / ARCHIVE)
    size = (root / ARCHIVE).stat().st_size / 1e6
    print(f"{ARCHIVE}: {size:.0f} MB; unpack it and open {FOLDER}/index.html")


if __name__ == "__main__":
    main()
