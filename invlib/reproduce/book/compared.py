"""Pages that nbval has just run, and found as they are stored, need not run again for the book.

A plugin of pytest: ``pytest -p invlib.reproduce.book.compared --nbval PAGES``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from ..engine.reached import Reach, present
from .cache import Page, opened, store
from .tidy import tidied


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run; its workers are watched from here."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Compared(config.rootpath))


class Compared:
    """Puts pages all of whose cells gave their stored outputs into the cache of the book.

    Args:
        root: folder of the book.
        reach: what the definitions of the library reach, by default of this one.
    """

    def __init__(self, root: Path, reach: Reach | None = None) -> None:
        self.root, self.reach = root, reach
        self.seconds: dict[Path, float] = defaultdict(float)
        self.passed: Counter[Path] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a cell went, and how long it took."""
        path = self.root / report.nodeid.partition("::")[0]
        self.seconds[path] += report.duration
        self.passed[path] += report.when == "call" and report.passed

    def pytest_sessionfinish(self) -> None:
        """Store the pages that are whole."""
        if not any(self.passed.values()):
            return
        cache, pages, _ = opened(self.root, self.reach or present())
        for page in pages:
            if 0 < self.passed[page.path] == cells(page):
                store(cache, page, tidied(page.notebook), self.seconds[page.path])


def cells(page: Page) -> int:
    """How many cells of a page nbval runs."""
    return sum(cell.cell_type == "code" for cell in page.notebook.cells)
