"""Let sphinx-codeautolink read pages with theorems and exercises.

Those put their text in sections without a title, and codeautolink 0.19 takes one title off its
stack at the end of every section.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_codeautolink.extension.block import CodeBlockAnalyser


def depart_section(self: CodeBlockAnalyser, node: nodes.section) -> None:
    if any(isinstance(child, nodes.title) for child in node.children):
        self.title_stack.pop()


def setup(app: Sphinx) -> dict[str, bool]:
    CodeBlockAnalyser.depart_section = depart_section
    return {"parallel_read_safe": True, "parallel_write_safe": True}
