"""The tests reach the core: its lines and its branches."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import reach
import reached

ENOUGH = 0.95


@pytest.mark.torture
def test_the_tests_reach_the_core() -> None:
    code = subprocess.run([sys.executable, reached.__file__], cwd=reached.ROOT, check=False)
    assert code.returncode == 0, "a test failed"
    found = json.loads(reached.RESULTS.read_text())["files"]
    assert {*found} == {*reached.files()}
    assert {kind for kind in ("lines", "branches") if reached.share(found, kind) < ENOUGH} == set()


def test_the_core_and_its_tests_are_where_they_are_looked_for() -> None:
    assert len(reached.files()) > 40
    assert all((reached.ROOT / name).is_file() for name in reached.files())
    assert all((reached.ROOT / f"tests/test_{name}.py").is_file() for name in reached.TESTS.split())
    shares = {"a": {"lines": [1, 4]}, "b": {"lines": [5, 6]}}
    assert reached.share(shares, "lines") == 0.6


def test_of_a_test_that_is_slow_as_a_whole_one_case_is_run() -> None:
    names = ["a::one", "a::two[1]", "a::two[2]", "a::three[1]", "a::three[2]", "a::four"]
    slow = {"a::two[1]", "a::three[1]", "a::three[2]", "a::four"}
    assert reach.chosen(names, slow) == {"a::one", "a::two[2]", "a::three[1]", "a::four"}
