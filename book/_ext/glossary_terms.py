"""Link the first use of every word of the glossary on every page to it, so that it explains itself.

The card that opens when the pointer rests on a link is that of ``sphinx_tippy``. Words of everyday
English count only in the phrases below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from docutils import nodes
from sphinx.addnodes import desc
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.util.nodes import make_refnode

EXCEPT = ("book/appendix/glossary", "book/reference/api", "book/reference/bibliography")
CLOSED = (  # nothing is linked inside of these
    *(nodes.reference, nodes.title, nodes.caption, nodes.term, nodes.rubric, nodes.literal),
    *(nodes.math, nodes.math_block, nodes.literal_block, nodes.raw, nodes.footnote),
    *(nodes.FixedTextElement, desc),
)
RANK, KIND = r"(?:first|second|third|high|higher)", r"sampler|solver|method|scheme"
PHRASES = {
    "box": r"(?:the|its|their) box",
    "call": r"(?:your|the stock|pipeline's|whole) call",
    "candidate": r"(?:wrong|vague|every|other) candidates?",
    "claim": r"(?:a claim|the claims)",
    "exact": r"(?:certified as exact|verdict is exact)",
    "excess": r"the excess",
    "flow": r"the (?:exact |true )?flow",
    "fold": r"(?:a|the|such|of) folds?",
    "lead": r"(?:in a|the|largest|a) leads? (?:of|over)",
    "likelihood": r"exact likelihoods?",
    "node": r"(?:every|each|a|one|all) nodes?",
    "order": rf"{RANK}[- ]order (?:{KIND})s?|(?:{KIND})s? of {RANK} order",
    "persistent": r"persistent search",
    "schedule": r"(?:a|the|noise) schedules?",
    "score": r"scores? of (?:the data|a Gaussian|the mixture|the states)",
    "solver": r"(?:a|the|every) solvers?",
    "stalled": r"have stalled|has stalled",
}


def pattern(term: str) -> str:
    """What a term looks like in a sentence, in the singular and in the plural."""
    if term in PHRASES:
        return PHRASES[term]
    plural = re.escape(term[:-1]) + r"(?:y|ies)" if term.endswith("y") else re.escape(term) + "s?"
    return plural.replace(r"\ ", r"\s+")


@dataclass(frozen=True)
class Words:
    """What all terms look like.

    Attributes:
        pattern: one group for each name of a term.
        terms: the term of each group.
    """

    pattern: re.Pattern[str]
    terms: tuple[str, ...]


def words(terms: Iterable[str]) -> Words:
    """The names of all terms; longer ones are looked for first."""
    names = {name: term for term in terms for name in term.split(", ")}
    ordered = sorted(names, key=len, reverse=True)
    groups = "|".join(f"({pattern(name)})" for name in ordered)
    compiled = re.compile(rf"(?<![\w-])(?:{groups})(?![\w-])", re.IGNORECASE)
    return Words(compiled, tuple(names[name] for name in ordered))


def uses(text: str, known: Words, seen: set[str]) -> Iterator[tuple[int, int, str]]:
    """The places where a text uses terms for the first time, and the terms, which are noted."""
    for found in known.pattern.finditer(text):
        term = known.terms[(found.lastindex or 0) - 1]
        if term not in seen:
            seen.add(term)
            yield found.start(), found.end(), term


def open_texts(tree: nodes.document) -> list[nodes.Text]:
    """The texts of a page that links may stand in; those in tables come after all others."""
    sentences, cells = [], []
    for paragraph in tree.findall(nodes.paragraph):
        for text in paragraph.findall(nodes.Text):
            around = [*above(text)]
            if not any(isinstance(each, CLOSED) for each in around):
                in_table = any(isinstance(each, nodes.table) for each in around)
                (cells if in_table else sentences).append(text)
    return sentences + cells


def above(node: nodes.Node) -> Iterator[nodes.Node]:
    """All that a node stands in."""
    while node.parent is not None:
        node = node.parent
        yield node


def link(app: Sphinx, tree: nodes.document, page: str) -> None:
    domain = app.env.get_domain("std")
    assert isinstance(domain, StandardDomain)
    terms = {name: at for (kind, name), at in domain.objects.items() if kind == "term"}
    if page in EXCEPT or not terms:
        return
    known = words(terms)
    targets = {str(each.get("refuri", "")) for each in tree.findall(nodes.reference)}
    ends = {target.partition("#")[2] for target in targets}
    seen = {name for name, (_, label) in terms.items() if label in ends}
    for text in open_texts(tree):
        parts: list[nodes.Node] = []
        end = 0
        for start, stop, term in uses(text.astext(), known, seen):
            parts.append(nodes.Text(text[end:start]))
            inner = nodes.inline("", text[start:stop], classes=["glossary-term"])
            parts.append(make_refnode(app.builder, page, *terms[term], inner))
            end = stop
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
