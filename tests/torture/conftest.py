"""What all torture shares: a count of what was tried, and what is for `make torture` only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest
from amount import LOG, torturing

KINDS = ("cases", "faults", "inputs", "mutants", "killed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``torture``, unless this is `make torture`."""
    if torturing():
        return
    out = [item for item in items if item.get_closest_marker("torture")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if not item.get_closest_marker("torture")]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Count what a test tried that is marked ``tries``, unless it failed or was skipped."""
    result = yield
    if mark := pyfuncitem.get_closest_marker("tries"):
        note(pyfuncitem, *mark.args)
    return result


def note(item: Any, kind: str, n: int = 1) -> None:
    """Append one line to the file that INVLIB_TORTURE_LOG names, in one write.

    So processes may share it.
    """
    assert kind in KINDS, f"unknown kind {kind!r}; use one of {', '.join(KINDS)}"
    if not torturing():
        return
    line = json.dumps({"kind": kind, "n": n, "module": item.path.stem, "test": item.name})
    file = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, (line + "\n").encode())
    finally:
        os.close(file)


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Say that ``n`` things of a kind were tried: ``counted("faults")``, ``counted("cases", 3)``.

    Kinds are ``cases`` (of properties), ``faults`` (injected), ``inputs`` (fuzzed), ``mutants``
    (tried) and ``killed`` (of them). Call it after the thing was tried, so that what a failure
    kept from being tried is not counted.
    """
    return partial(note, request.node)
