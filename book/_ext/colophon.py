"""Below every page how long its code ran, and with what; beside the next page how long it is."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

import invlib

ENVIRONMENT = "book/appendix/environment"
FIGURES = "book/figures/"
MINUTES = re.compile(r"\b(\d+ minutes) to read\b")


def minutes(app: Sphinx, tree: nodes.document) -> None:
    """Note how long a page takes to read, if it says so."""
    if found := MINUTES.search(tree.astext()):
        app.env.metadata[app.env.docname]["minutes"] = found[1]


def add(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    """Complete a page."""
    for way in ("prev", "next"):
        if neighbour := context.get(way):
            name = page_of(app, page, neighbour["link"])
            if long := app.env.metadata.get(name, {}).get("minutes"):
                context[f"{way}_title"] = (
                    f'{neighbour["title"]}<span class="minutes">, {long}</span>'
                )
    if words := made(app, page):
        link = f'<a href="{context["pathto"](ENVIRONMENT)}">All versions and times</a>'
        context["body"] += f'<p class="colophon">{words} {link}.</p>'


def page_of(app: Sphinx, page: str, link: str) -> str:
    """The name of the page that a link on another page leads to."""
    names = app.env.found_docs
    return next((n for n in names if app.builder.get_relative_uri(page, n) == link), "")


def made(app: Sphinx, page: str) -> str:
    """How the outputs of a page were made; nothing for a page without code."""
    root = Path(app.srcdir)
    results = root / "results" / f"{page.removeprefix(FIGURES)}.json"
    if page.startswith(FIGURES) and results.exists():
        stored = json.loads(results.read_text())
        versions = ", ".join(f"{name} {value}" for name, value in stored["versions"].items())
        return f"Stored outputs, measured with {versions} ({stored['device']})."
    ran = getattr(app.env, "nb_metadata", {}).get(page, {}).get("exec_data")
    if not ran or ran.get("runtime") is None:
        return ""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "numpy"))
    return (
        f"The code of this page ran in {ran['runtime']:.0f} seconds, with "
        f"invlib {invlib.__version__}, Python {platform.python_version()}, {versions}."
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", minutes)
    app.connect("html-page-context", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
