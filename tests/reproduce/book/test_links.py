"""What a build links by itself: words of the glossary, and figures to the page that makes them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import nbformat
import pytest
from chapters import ROOT
from docutils import nodes
from docutils.utils import new_document
from sphinx.addnodes import pending_xref
from sphinx.domains.std import StandardDomain

sys.path.insert(0, str(ROOT / "book/_ext"))
glossary_terms = pytest.importorskip("glossary_terms")
figure_pages = pytest.importorskip("figure_pages")
addresses = pytest.importorskip("addresses")
GLOSSARY = "book/appendix/glossary"


def terms() -> list[str]:
    """The words of the glossary, as Sphinx names them."""
    text = (ROOT / f"{GLOSSARY}.md").read_text().partition(":sorted:")[2].partition("```")[0]
    return [block.splitlines()[0] for block in text.strip().split("\n\n")]


def app(*known: str) -> SimpleNamespace:
    """A build whose glossary has some words."""

    class Domain(StandardDomain):
        objects = {("term", name): (GLOSSARY, f"term-{name}") for name in known}

        def __init__(self) -> None: ...

    env = SimpleNamespace(get_domain=lambda name: Domain())
    builder = SimpleNamespace(get_relative_uri=lambda page, other: "glossary.html")
    return SimpleNamespace(env=env, builder=builder)


def page(*children: nodes.Node) -> nodes.document:
    tree = new_document("page")
    tree += nodes.section("", nodes.title("", "A residual"), *children)
    return tree


def linked(tree: nodes.document) -> list[tuple[str, str]]:
    return [(r.astext(), r["refuri"]) for r in tree.findall(nodes.reference)]


def found(sentence: str, *known: str) -> list[str]:
    words = glossary_terms.words(known or terms())
    return [term for _, _, term in glossary_terms.uses(sentence, words, set())]


def test_the_first_use_on_a_page_is_linked_and_the_text_stays() -> None:
    words = "Residuals are left. A residual is small, the Jacobian is not."
    tree = page(nodes.paragraph("", words), nodes.paragraph("", "The residual again."))
    text = tree.astext()
    glossary_terms.link(app("residual", "Jacobian"), tree, "book/01")
    assert linked(tree) == [
        ("Residuals", "glossary.html#term-residual"),
        ("Jacobian", "glossary.html#term-Jacobian"),
    ]
    assert tree.astext() == text


def test_titles_code_and_links_are_left_alone() -> None:
    closed = [
        nodes.paragraph("", "", nodes.literal("", "residual")),
        nodes.paragraph("", "", nodes.reference("", "residual", refuri="x")),
    ]
    tree = page(*closed)
    glossary_terms.link(app("residual"), tree, "book/01")
    assert linked(tree) == [("residual", "x")]


def test_tables_link_what_no_sentence_uses() -> None:
    cells = nodes.table("", nodes.paragraph("", "residual"), nodes.paragraph("", "Jacobian"))
    tree = page(cells, nodes.paragraph("", "Residuals."))
    glossary_terms.link(app("residual", "Jacobian"), tree, "book/01")
    assert {text for text, _ in linked(tree)} == {"Jacobian", "Residuals"}


def test_what_a_page_links_itself_is_not_linked_again() -> None:
    own = nodes.reference("", "what is left", refuri="glossary.html#term-residual")
    tree = page(nodes.paragraph("", "A residual, ", own))
    glossary_terms.link(app("residual"), tree, "book/01")
    assert len(linked(tree)) == 1


def test_the_glossary_does_not_link_to_itself() -> None:
    tree = page(nodes.paragraph("", "A residual."))
    glossary_terms.link(app("residual"), tree, GLOSSARY)
    assert linked(tree) == []


def test_words_of_everyday_english_need_their_phrase() -> None:
    assert found("In order to call a box, claim the exact flow of the node.") == ["flow"]
    assert found("a second-order method, the stock call") == ["order", "call"]
    assert found("Two preimages of a fold; trajectories; the whole trajectory") == [
        *("preimage", "fold", "trajectory", "whole trajectory")
    ]
    assert found("fixed-point iterations", "fixed-point iteration") == ["fixed-point iteration"]
    assert found("residually, a pre-residual", "residual") == []
    assert found("Algorithm 2 of the paper") == ["Algorithm 1, Algorithm 2"]


def test_every_phrase_belongs_to_a_word_and_every_word_can_be_found() -> None:
    assert set(glossary_terms.PHRASES) <= set(terms()) and len(terms()) > 60
    for term in set(terms()) - set(glossary_terms.PHRASES):
        name = term.split(", ")[0]
        assert found(f"Here {name} is used.") == [term]


def test_every_chapter_uses_words_of_the_glossary() -> None:
    known = glossary_terms.words(terms())
    for path in sorted((ROOT / "book").glob("[0-9]*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
        assert len([*glossary_terms.uses(text, known, set())]) >= 8, path.name


def test_a_figure_says_how_to_make_it_again() -> None:
    tree = page(nodes.paragraph("", "Text."))
    build = SimpleNamespace(env=SimpleNamespace(docname="book/figures/fig2"))
    figure_pages.add(build, tree)
    [link] = tree.findall(pending_xref)
    assert link["reftarget"] == "/book/run_on_a_gpu"
    assert (
        isinstance(link.parent.parent, nodes.section) and link.parent.parent.index(link.parent) == 1
    )
    other = page(nodes.paragraph("", "Text."))
    figure_pages.add(SimpleNamespace(env=SimpleNamespace(docname="book/01")), other)
    assert not [*other.findall(pending_xref)]


def test_the_button_of_a_figure_opens_the_page_that_makes_it() -> None:
    base = "https://colab.research.google.com/github/o/n/blob/gh-pages/v1/_sources"

    def header(name: str) -> list[dict]:
        button = {"type": "link", "url": f"{base}/{name}.ipynb"}
        return [{"label": "launch-buttons", "buttons": [button]}, {"label": "other"}]

    chapter, figure, bench = "book/03_why_naive_fails", "book/figures/fig2", "book/reference/bench"
    assert addresses.launching(ROOT, chapter, header(chapter)) == header(chapter)
    made = addresses.launching(ROOT, figure, header(figure))
    assert made == header("book/run_on_a_gpu")
    assert addresses.launching(ROOT, bench, header(bench)) == [{"label": "other"}]
