"""Figures of the paper have its numbers, in the titles of their pages, and no second ones."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

NUMBER = re.compile(r'<span class="caption-number">[^<]*</span>')


def drop(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    """Take the running number off the captions of a page."""
    if page.startswith("book/figures/"):
        context["body"] = NUMBER.sub("", context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", drop)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
