"""Say on every page of a figure how to make it again, with a link to the page that does."""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

FIGURES, MAKING = "book/figures/", "/book/run_on_a_gpu"
WORDS = "Make this page again, on Colab or where you are: "


def add(app: Sphinx, tree: nodes.document) -> None:
    """Put the sentence below the title."""
    if not app.env.docname.startswith(FIGURES):
        return
    title = next(iter(tree.findall(nodes.title)))
    link = pending_xref(
        "",
        nodes.inline("", "all figures, on a machine of yours"),
        refdoc=app.env.docname,
        refdomain="std",
        reftype="doc",
        reftarget=MAKING,
        refexplicit=True,
    )
    sentence = nodes.paragraph("", WORDS, link, nodes.Text("."), classes=["make-again"])
    title.parent.insert(title.parent.index(title) + 1, sentence)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
