"""Bounds are near to what was measured, or say why they are not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from chapters import ROOT

from invlib.claims import WIDE
from invlib.reproduce.book import slack

NOTEBOOKS = sorted((ROOT / "book").rglob("*.ipynb"))


def without_value(path: Path) -> set[str]:
    """The claims in the stored outputs of a notebook whose values are not known."""
    lines = printed(path) - {*KNOWN.get(path.relative_to(ROOT).as_posix(), {})}
    return {line for line in lines if BOUND.search(line)}


def printed(path: Path) -> set[str]:
    return slack.printed(nbformat.read(path, as_version=4))


BOUND = re.compile(r" (?:[<>] \S+|= \S+)$")  # checks of exercises have none
KNOWN = json.loads((ROOT / slack.FILE).read_text())
PAGES = [path for path in NOTEBOOKS if any(map(BOUND.search, printed(path)))]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_every_claim_has_its_value_and_a_near_bound_or_a_reason(path: Path) -> None:
    """If not: ``python -m invlib.reproduce.book.slack PAGE``."""
    name = path.relative_to(ROOT).as_posix()
    entries = KNOWN.get(name, {})
    assert {*entries} <= printed(path)
    assert without_value(path) == set()
    assert slack.loose(entries) == []


def test_no_page_is_kept_that_is_gone() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in PAGES}
    assert set(KNOWN) <= names
    assert sum(len(entries) for entries in KNOWN.values()) > 1500


def test_a_reason_is_a_sentence() -> None:
    reasons = [e["why"] for entries in KNOWN.values() for e in entries.values() if "why" in e]
    assert len(reasons) > 20 and all(len(reason.split()) >= 4 for reason in reasons)


def entry(room: float, at: str, why: str = "") -> dict[str, object]:
    return {"value": 1.0, "slack": room, "at": at} | ({"why": why} if why else {})


def test_a_wide_bound_is_named_in_a_loop_too() -> None:
    entries = {
        "far < 1": entry(2 * WIDE, "a:1"),
        "near < 1": entry(2.0, "a:2"),
        "loop, first < 1": entry(2 * WIDE, "b:1"),
        "loop, second < 1": entry(2.0, "b:1"),
        "far, for a reason < 1": entry(2 * WIDE, "b:2", "only its sign is meant"),
    }
    assert slack.loose(entries) == ["far < 1 (slack 20)", "loop, first < 1 (slack 20)"]


def test_a_notebook_is_run_and_its_claims_are_kept(tmp_path: Path) -> None:
    source = 'from invlib.claims import claim\nclaim("it is small", 1e-6, below=1)'
    page = tmp_path / "book/page.ipynb"
    page.parent.mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    entries = slack.recorded(notebook, tmp_path)
    assert entries["it is small < 1"]["slack"] == 1e6
    slack.keep(page, entries, tmp_path)
    slack.keep(page.with_name("other.ipynb"), {}, tmp_path)
    slack.keep(tmp_path.with_name("elsewhere.ipynb"), entries, tmp_path)
    kept = json.loads((tmp_path / slack.FILE).read_text())
    assert kept == {"book/page.ipynb": entries}
    assert slack.loose(entries) == ["it is small < 1 (slack 1e+06)"]
