"""Put the slides of the lectures beside the pages, in a folder of the site."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from invlib.reproduce.book import slides


def write(app: Sphinx, error: Exception | None) -> None:
    """Write them when the pages are written."""
    if error is None and app.builder.format == "html":
        slides.main(Path(app.srcdir), Path(app.outdir) / "slides")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
