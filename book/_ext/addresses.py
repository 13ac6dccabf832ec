"""Put the address of the repository and the site into the pages, if the build knows one.

Without an address there are no buttons that need it. The button of Colab opens a page that stands
alone, and from a figure the page that makes all of them. See ``invlib.reproduce.book.address``.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from invlib.reproduce.book.address import BRANCH, ROOT, Address, address, citation
from invlib.reproduce.book.install_cell import filled, installs
from invlib.reproduce.book.offline import ARCHIVE
from invlib.reproduce.book.pdf import WHOLE

CARD = "_static/round_trip.png"
FIGURES, MAKING = "book/figures/", "book/run_on_a_gpu"
LAUNCH, SOURCE = "launch-buttons", "source-buttons"  # what the theme calls them
EDIT = {"github.com": "edit", "gitlab.com": "-/edit"}  # where a host has its editor
MAIN = "main"  # the branch that pages are written on; that of notebooks for Colab is another
ABOUT = "A course, in notebooks that run, on finding the noise that a diffusion model started from"
ALT = "Two faces, what two methods make of their noises, and the errors"


def buttons(where: Address) -> dict[str, Any]:
    """The options of the theme for an address."""
    if where.host not in EDIT:  # the theme knows no other
        return {}
    options: dict[str, Any] = {
        "repository_url": where.repository,
        "use_repository_button": True,
        "use_issues_button": True,
    }
    if where.notebooks:
        options |= {
            "repository_branch": BRANCH,
            "path_to_docs": where.notebooks,
            "launch_buttons": {"colab_url": "https://colab.research.google.com"},
        }
    return options


def blocks(where: Address, root: Path = ROOT) -> dict[str, str]:
    """What pages show by their names: how to get the repository, and how to cite it."""
    record = citation((root / "CITATION.cff").read_text(), where)
    clone = f"git clone {where.repository} invlib && cd invlib"
    return {
        "clone": f"```sh\n{clone}\n```" if where.repository else "In a clone of the repository:",
        "citation": f"```yaml\n{record}```",
        "take": taken(where),
    }


def taken(where: Address) -> str:
    """How readers take the book along: files beside a published build, or what makes them."""
    if where.site and where.edition:
        return (
            f"To take along: all pages [in a zip file]({where.book}{ARCHIVE.name}) that opens "
            f"from a disk, sliders included, and [in a PDF]({where.book}{WHOLE.name}) to print. "
            f"This is `{where.edition}`; there may be [other editions]({where.site}editions.html)."
        )
    return "To take along: `make offline` packs all pages into a zip file, `make pdf` prints them."


def card(where: Address, page: str, title: str) -> str:
    """Tags from which other sites draw a card of a page."""
    values = {
        "og:type": "article",
        "og:title": title,
        "og:description": ABOUT,
        "og:url": f"{where.book}{page}.html",
        "og:image": f"{where.book}{CARD}",
        "og:image:alt": ALT,
        "twitter:card": "summary_large_image",
    }
    pairs = [(name, html.escape(value)) for name, value in values.items()]
    return "\n".join(f'<meta property="{name}" content="{value}" />' for name, value in pairs)


def described() -> str:
    """The sentence that search engines show."""
    return f'<meta name="description" content="{html.escape(ABOUT)}" />\n'


def configure(app: Sphinx, config: Config) -> None:
    where = address()
    config.html_theme_options.update(buttons(where))
    config.html_baseurl = where.book
    config.myst_substitutions = {**config.myst_substitutions, **blocks(where)}


def page(
    app: Sphinx, name: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    where = address()
    if tree is not None:
        title = str(context.get("title", app.config.html_title))
        tags = described() + (card(where, name, title) if where.book else "")
        context["metatags"] = context.get("metatags", "") + tags
    header = launching(Path(app.srcdir), name, context.get("header_buttons", []))
    if tree is not None:
        header = editing(where, str(app.env.doc2path(name, base=False)), header)
    context["header_buttons"] = header


def editing(where: Address, source: str, header: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The buttons above a page, and among those of its repository one that edits the page.

    The theme's own would edit the branch that Colab reads.
    """
    if where.host not in EDIT:
        return header
    button = {
        "type": "link",
        "url": f"{where.repository}/{EDIT[where.host]}/{MAIN}/{source}",
        "tooltip": "Suggest a change of this page",
        "text": "Edit this page",
        "icon": "fas fa-pencil-alt",
        "label": "source-edit-button",
    }
    return [
        {**each, "buttons": [*each["buttons"], button]} if each.get("label") == SOURCE else each
        for each in header
    ]


def launching(root: Path, page: str, header: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The buttons above a page, of which those that launch it lead to what runs alone."""
    if stands_alone(root / f"{page}.ipynb"):
        return header
    if not page.startswith(FIGURES):
        return [each for each in header if each.get("label") != LAUNCH]

    def led(button: dict[str, Any]) -> dict[str, Any]:
        return {**button, "url": button["url"].replace(f"{page}.ipynb", f"{MAKING}.ipynb")}

    return [
        {**each, "buttons": [*map(led, each["buttons"])]} if each.get("label") == LAUNCH else each
        for each in header
    ]


def stands_alone(notebook: Path) -> bool:
    """Whether a notebook has the cell that installs invlib."""
    return notebook.exists() and any(map(installs, nbformat.read(notebook, as_version=4).cells))


def publish(app: Sphinx, error: Exception | None) -> None:
    """Say in the published notebooks where invlib is, and keep the citation beside the pages."""
    if error is not None or app.builder.format != "html":
        return
    where, folder = address(), Path(app.outdir)
    for notebook in [*folder.glob("_sources/**/*.ipynb"), *folder.glob("exercises/*.ipynb")]:
        notebook.write_text(filled(notebook.read_text("utf-8"), where.source), "utf-8")
    record = citation((ROOT / "CITATION.cff").read_text(), where)
    (folder / "CITATION.cff").write_text(record)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", configure)
    app.connect("html-page-context", page, priority=900)  # after the theme made its buttons
    app.connect("build-finished", publish, priority=900)  # after the exercises are there
    return {"parallel_read_safe": True, "parallel_write_safe": True}
