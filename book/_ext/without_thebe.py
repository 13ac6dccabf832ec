"""Leave out the scripts of Thebe: no page has live cells, and the scripts are declared twice."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def is_thebe(script: Any) -> bool:
    """Whether a script of a page is one of Thebe's."""
    body = getattr(script, "attributes", {}).get("body", "")
    return "THEBE_JS_URL" in body or "sphinx-thebe.js" in (getattr(script, "filename", "") or "")


def drop(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    context["script_files"] = [s for s in context["script_files"] if not is_thebe(s)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", drop, priority=900)  # after the scripts are gathered
    return {"parallel_read_safe": True, "parallel_write_safe": True}
