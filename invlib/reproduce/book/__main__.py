"""Execute the pages of the book that are new: ``python -m invlib.reproduce.book``."""

from __future__ import annotations

from .cache import main

if __name__ == "__main__":
    main()
