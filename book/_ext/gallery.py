"""The directive ``gallery``: the first picture of every notebook in a part of the contents.

The pictures are read from the stored outputs when the book is built, so they are always those of
the pages.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
import yaml
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH = 480  # pixels
HEIGHT = 300  # of taller ones the top is shown
FOLDER = "_build/thumbnails"  # in the source folder, where nothing is committed
CARD = """:::{{grid-item-card}} {title}
:link: /{page}
:link-type: doc
:img-top: /{picture}
:img-alt: {alt}
:class-img-top: thumbnail
:::
"""


class Gallery(SphinxDirective):
    """Cards with a picture, a title and a link for the notebooks of a part."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        cards = []
        for page in listed(yaml.safe_load((root / "_toc.yml").read_text()), self.arguments[0]):
            notebook = root / f"{page}.ipynb"
            if notebook.exists():
                self.env.note_dependency(str(notebook))
                cards.append(card(page, nbformat.read(notebook, as_version=4), root))
        if not cards:
            raise self.error(f"the contents have no part {self.arguments[0]!r} with notebooks")
        lines = ["::::{grid} 2 2 3 3", ":gutter: 2", ":class-container: gallery", ""]
        self.content.data = "\n".join([*lines, *cards, "::::"]).splitlines()
        self.content.items = [(self.get_source_info()[0], self.lineno)] * len(self.content.data)
        box = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, box)
        return box.children


def listed(contents: dict[str, Any], part: str) -> list[str]:
    """The pages of a part of the contents."""
    parts = [each for each in contents["parts"] if each["caption"] == part]
    return [chapter["file"] for each in parts for chapter in each["chapters"]]


def card(page: str, notebook: nbformat.NotebookNode, root: Path) -> str:
    """The card of a notebook; its thumbnail is written."""
    heading = next(c.source for c in notebook.cells if c.cell_type == "markdown")
    data, alt = first_picture(notebook)
    picture = f"{FOLDER}/{page.replace('/', '-')}.png"
    path = root / picture
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(data)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((WIDTH, 10 * HEIGHT))
    small.crop((0, 0, small.width, min(small.height, HEIGHT))).save(path)
    title = heading.splitlines()[0].lstrip("# ")
    return CARD.format(title=title, page=page, picture=picture, alt=" ".join(alt.split()))


def first_picture(notebook: nbformat.NotebookNode) -> tuple[bytes, str]:
    """The first stored picture of a notebook and its description."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if data := output.get("data", {}).get("image/png"):
                return base64.b64decode(data), cell.metadata["mystnb"]["image"]["alt"]
    raise ValueError("a notebook of the gallery has no picture")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
