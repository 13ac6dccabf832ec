"""The examples in the docstrings of the API pages run, and need PyTorch alone."""

from __future__ import annotations

import ast
import doctest
import importlib

import pytest
from test_public import LISTED

FINDER = doctest.DocTestFinder(exclude_empty=True)
EXAMPLES = {
    test.name: test
    for name in LISTED
    for test in FINDER.find(importlib.import_module(name), name)
    if test.examples
}


def test_the_doors_have_examples() -> None:
    doors = ("sampling.sample", "inverters.invert", "certificate.certify", "rootfind.anderson")
    assert {f"invlib.{door}" for door in doors} <= {*EXAMPLES}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_happens(name: str) -> None:
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(EXAMPLES[name], out=said.append)
    assert result.attempted and not result.failed, "".join(said)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_needs_torch_alone(name: str) -> None:
    lines = "".join(example.source for example in EXAMPLES[name].examples)
    imports = [n for n in ast.walk(ast.parse(lines)) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {alias.name for n in imports if isinstance(n, ast.Import) for alias in n.names}
    names |= {str(n.module) for n in imports if isinstance(n, ast.ImportFrom)}
    assert names <= {"invlib", "torch"}
