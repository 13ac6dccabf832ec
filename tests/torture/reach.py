"""Plugin of pytest: which test reaches which line, and in how many seconds.

Of a test that `make unit` leaves to `make thorough` as a whole, one case runs.

Run as ``coverage run -m pytest -p reach``. The times go to the file that INVLIB_REACH_SECONDS
names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from time import process_time

import coverage
import pytest

SECONDS = "INVLIB_REACH_SECONDS"
_seconds: dict[str, float] = {}


def chosen(names: Sequence[str], slow: Collection[str]) -> set[str]:
    """The cases that are not slow; and of a test without any the first one."""
    quick = {name for name in names if name not in slow}
    known = {name.partition("[")[0] for name in quick}
    for name in names:
        if name.partition("[")[0] not in known:
            quick.add(name)
            known.add(name.partition("[")[0])
    return quick


@pytest.hookimpl(trylast=True)  # when the slow ones are marked
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out all other cases."""
    slow = {item.nodeid for item in items if item.get_closest_marker("slow")}
    some = chosen([item.nodeid for item in items], slow)
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in some])
    items[:] = [item for item in items if item.nodeid in some]


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
