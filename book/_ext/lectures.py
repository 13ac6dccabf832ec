"""Put the slides of the lectures, and notebooks of exercises, beside the pages of the site."""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx

from invlib.exercises import stubs
from invlib.reproduce.book import slides


def write(app: Sphinx, error: Exception | None) -> None:
    """Write them when the pages are written."""
    if error is None and app.builder.format == "html":
        root, site = Path(app.srcdir), Path(app.outdir)
        slides.main(root, site / "slides")
        shutil.rmtree(site / "exercises", ignore_errors=True)  # of an earlier build
        stubs.write(root / "book", site / "exercises")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
