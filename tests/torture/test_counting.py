"""What was tried is counted, and counted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from amount import LOG, SCALE, amount


def test_counts_are_lines_of_a_file(
    counted: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"
    monkeypatch.setenv(LOG, str(log))
    counted("faults")
    counted("cases", 3)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["kind"], line["n"]) for line in lines] == [("faults", 1), ("cases", 3)]
    assert {line["module"] for line in lines} == {"test_counting"}


def test_an_unknown_kind_is_refused(counted: Callable[..., None]) -> None:
    with pytest.raises(AssertionError, match="use one of cases"):
        counted("things")


def test_the_amount_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOG, raising=False)
    assert amount(3, 1000) == 3
    monkeypatch.setenv(LOG, "log.jsonl")
    monkeypatch.delenv(SCALE, raising=False)
    assert amount(3, 1000) == 1000
    monkeypatch.setenv(SCALE, "0.05")
    assert amount(3, 1000) == 50
