"""Notebooks with the exercises, without solutions: ``python -m invlib.exercises stubs FOLDER``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .stubs import write

BOOK = Path(__file__).parents[2] / "book"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the notebooks."""
    parser = argparse.ArgumentParser(prog="python -m invlib.exercises")
    stubs = parser.add_subparsers(required=True).add_parser(
        "stubs", help="a notebook for every chapter: questions, empty cells, and their checks"
    )
    stubs.add_argument("folder", type=Path, metavar="FOLDER", help="where the notebooks go")
    stubs.add_argument("--book", type=Path, default=BOOK, help="the folder with the chapters")
    given = parser.parse_args(arguments)
    try:
        files = write(given.book, given.folder)
    except OSError as error:
        sys.exit(str(error))
    print(f"{len(files)} notebooks in {given.folder}")


if __name__ == "__main__":
    main()
