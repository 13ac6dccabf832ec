"""What all torture shares: a count of what was tried, and what is for `make torture` only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

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


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Say that ``n`` things of a kind were tried: ``counted("faults")``, ``counted("cases", 3)``.

    Kinds are ``cases`` (of properties), ``faults`` (injected), ``inputs`` (fuzzed), ``mutants``
    (tried) and ``killed`` (of them). Call it after the thing was tried, so that what a failure
    kept from being tried is not counted. Each call appends one line to the file that the
    environment variable INVLIB_TORTURE_LOG names, in one write, so that processes may share it.
    """

    def count(kind: str, n: int = 1) -> None:
        assert kind in KINDS, f"unknown kind {kind!r}; use one of {', '.join(KINDS)}"
        if not torturing():
            return
        module = request.path.stem
        line = json.dumps({"kind": kind, "n": n, "module": module, "test": request.node.name})
        file = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, (line + "\n").encode())
        finally:
            os.close(file)

    return count
