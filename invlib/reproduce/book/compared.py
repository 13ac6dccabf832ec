"""Pages that nbval has just run, and found as they are stored, need not run again for the book.

A plugin of pytest: ``pytest -p invlib.reproduce.book.compared --nbval PAGES``. What nbval does not
compare, such as the values that a page glues into its text, is taken from its run.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode, from_dict

from ..engine.reached import present
from .cache import Page, opened, store
from .tidy import tidied

IGNORED = "nbval-ignore-output"  # the tag of cells whose outputs differ from run to run
OUTPUTS = "outputs"


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run: the cells where they run, the pages from here."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Compared(config.rootpath))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: pytest.CallInfo) -> Iterator[None]:
    """Send the outputs of a cell along where nbval does not compare them."""
    outcome: Any = yield
    report = outcome.get_result()
    if call.when == "call" and IGNORED in tags(getattr(item, "cell", {})):
        outputs = json.loads(json.dumps(item.test_outputs))  # plain, for another process
        report.user_properties.append((OUTPUTS, outputs))


class Compared:
    """Puts pages all of whose cells gave their stored outputs into the cache of the book.

    Args:
        root: folder of the book.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seconds: dict[Path, float] = defaultdict(float)
        self.passed: Counter[Path] = Counter()
        self.outputs: dict[Path, list[list[NotebookNode]]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a cell went, how long it took, and what it gave if nbval did not look."""
        path = self.root / report.nodeid.partition("::")[0]
        self.seconds[path] += report.duration
        self.passed[path] += report.when == "call" and report.passed
        if report.when == "call":
            given: list[tuple[str, Any]] = report.user_properties
            found = [outs for name, outs in given if name == OUTPUTS]
            self.outputs[path] += [[from_dict(out) for out in outs] for outs in found]

    def pytest_sessionfinish(self) -> None:
        """Store the pages that are whole."""
        if not any(self.passed.values()):
            return
        cache, pages, _ = opened(self.root, present())
        for page in pages:
            if 0 < self.passed[page.path] == len(code(page.notebook)):
                notebook = filled(page, self.outputs[page.path])
                store(cache, page, tidied(notebook), self.seconds[page.path])


def filled(page: Page, outputs: list[list[NotebookNode]]) -> NotebookNode:
    """The notebook of a page, with the outputs of this run in the cells that nbval ignores."""
    notebook = deepcopy(page.notebook)
    ignored = [cell for cell in code(notebook) if IGNORED in tags(cell)]
    for cell, outs in zip(ignored, outputs, strict=True):
        cell.outputs = outs
    return notebook


def code(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that nbval runs."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: Any) -> list[str]:
    """The tags of a cell."""
    return list(cell.get("metadata", {}).get("tags", []))
