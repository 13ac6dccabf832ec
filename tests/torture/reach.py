"""Plugin of pytest: which test reaches which line, and in how many seconds.

Run as ``coverage run -m pytest -p reach``. The times go to the file that INVLIB_REACH_SECONDS
names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import coverage
import pytest

SECONDS = "INVLIB_REACH_SECONDS"
_seconds: dict[str, float] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Give each test its own context."""
    measured = coverage.Coverage.current()
    assert measured is not None, "run it by `coverage run -m pytest`"
    measured.switch_context(item.nodeid)
    start = process_time()
    result = yield
    _seconds[item.nodeid] = round(process_time() - start, 3)
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test that fails or is skipped says nothing about a mutant."""
    if not report.passed:
        _seconds[report.nodeid] = -1.0


def pytest_sessionfinish() -> None:
    """Write the times of the tests that passed."""
    passed = {name: seconds for name, seconds in _seconds.items() if seconds >= 0}
    Path(os.environ[SECONDS]).write_text(json.dumps(passed, indent=1) + "\n")
