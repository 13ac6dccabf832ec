"""What was tried is counted, and counted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import run
from amount import LOG, SCALE, amount

from invlib.reproduce.book import torture


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


JUNIT = """<testsuites><testsuite><testcase name="a" /><testcase name="b"><failure /></testcase>
<testcase name="c"><skipped type="pytest.xfail" message="hard" /></testcase>
<testcase name="d"><skipped type="pytest.skip" message="no" /></testcase>
</testsuite></testsuites>"""


def test_the_runner_adds_up(tmp_path: Path) -> None:
    log, report = tmp_path / "log.jsonl", tmp_path / "junit.xml"
    assert run.counts(log) == {} and run.outcomes(report)["tests"] == 0
    log.write_text(
        "".join(json.dumps({"kind": "cases", "n": n}) + "\n" for n in (1, 4))
        + json.dumps({"kind": "faults", "n": 2})
    )
    report.write_text(JUNIT)
    assert run.counts(log) == {"cases": 5, "faults": 2}
    assert run.outcomes(report) == {
        **{"tests": 4, "failed": ["b"], "known": ["hard"], "skipped": ["d: no"]}
    }
    assert len(run.found("test_numerical_faults")) >= 5 and run.found("test_soak") == []


def test_a_run_of_some_modules_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "torture.json")
    run.write("test_soak", {"tests": 1})
    run.write("test_counting", {"tests": 2})
    run.write("test_no_more", {"tests": 9})
    run.write("test_soak", {"tests": 3})
    lines = json.loads(run.RESULTS.read_text())["modules"]
    assert lines == {"test_counting": {"tests": 2}, "test_soak": {"tests": 3}}
    with pytest.raises(SystemExit, match="no module test_nothing; there are: test_"):
        run.modules(["test_nothing"])


def test_mutants_come_after_the_coverage_that_they_need() -> None:
    chains = run.in_turn(run.modules([]))
    assert ["test_coverage", "test_mutants"] in chains
    assert sorted(name for chain in chains for name in chain) == run.modules([])
    assert run.in_turn(["test_mutants", "test_soak"]) == [["test_mutants"], ["test_soak"]]


def test_the_page_says_what_nobody_measured() -> None:
    line = {
        "date": "2026-01-02",
        "commit": "abc",
        "scale": 0.1,
        "counts": {"cases": 1200, "faults": 3},
        "tests": 2,
        "failed": ["b"],
        "known": [],
        "skipped": ["c: no atheris"],
    }
    text = torture.markdown({"modules": {"test_soak": line, "test_properties": line}})
    rows = {row.split("|")[1].strip(): row for row in text.splitlines()[2:]}
    assert {*torture.PARTS, "**in all**"} == {*rows}
    assert rows["supply chain"].count("not measured") == 1
    assert rows["process faults"].split("|")[3].strip() == str(
        len(torture.mended(("test_process",)))
    )
    assert "2,400" in rows["**in all**"] and "2026-01-02 | abc" in rows["soak"]
    assert "10%" in rows["soak"] and "not measured" not in rows["soak"]
    values = {"modules": {"test_soak": line}}
    said, never = torture.listed(values), torture.unknown(values)
    assert "`test_properties` as a whole" in said and "`test_soak` as a whole" not in said
    assert "not mended**\n\nNone." in said and "* C: no atheris." in said
    assert len(never) > 10 and said.count("\n* ") == len(torture.mended()) + 2 + len(never)


def test_every_module_is_a_part_of_the_page() -> None:
    starts = tuple(start for part in torture.PARTS.values() for start in part)
    assert [name for name in run.modules([]) if not name.startswith(starts)] == []
