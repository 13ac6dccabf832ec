"""Run the torture, and write what it tried: ``python tests/torture/run.py [MODULE ...]``.

Two modules run at a time, each in one process. Every module of tests/torture has its own line in
results/torture.json, with its date and commit, so that a run of some modules leaves the lines of
the others as they are. The number of random cases is that of INVLIB_TORTURE_SCALE times all, and
hypothesis draws from a new seed every day.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

from amount import LOG, SCALE
from conftest import KINDS

from invlib.reproduce.book.torture import found

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "results/torture.json"
# These start first, the longest before the others, or one of them runs alone at the end.
FIRST = (
    *(["test_input_readers"], ["test_coverage", "test_mutants"], ["test_pipelines_at_random"]),
    *(["test_properties"], ["test_metamorphic"], ["test_cli_options"], ["test_soak"]),
)


def modules(names: list[str]) -> list[str]:
    """The modules to run: all, or those whose names are given."""
    known = sorted(path.stem for path in HERE.glob("test_*.py"))
    wrong = sorted({*names} - {*known})
    if wrong:
        sys.exit(f"no module {', '.join(wrong)}; there are: {', '.join(known)}")
    return names or known


def pytest(module: str, log: Path, report: Path, seed: str) -> int:
    """Run one module in a process of its own; the exit code."""
    command = [sys.executable, "-m", "pytest", "-q", f"{HERE / module}.py", f"--junitxml={report}"]
    command += [f"--hypothesis-seed={seed}"]
    environment = {**os.environ, LOG: str(log), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def counts(log: Path) -> dict[str, int]:
    """How many things of every kind were tried, by the lines of a log."""
    found: Counter[str] = Counter()
    for line in log.read_text().splitlines() if log.exists() else []:
        entry = json.loads(line)
        found[entry["kind"]] += entry["n"]
    return {kind: found[kind] for kind in KINDS if found[kind]}


def outcomes(report: Path) -> dict[str, Any]:
    """What became of the tests: numbers, and which failed, are known to fail, or were skipped."""
    cases = [*ET.parse(report).getroot().iter("testcase")] if report.exists() else []
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    left = [(case.get("name"), why) for case in cases for why in case.iter("skipped")]
    known = [why for _, why in left if why.get("type") == "pytest.xfail"]
    out = [f"{name}: {why.get('message')}" for name, why in left if why not in known]
    return {
        "tests": len(cases),
        "failed": sorted(str(case.get("name")) for case in failed),
        "known": sorted(str(skip.get("message")) for skip in known),
        "skipped": sorted(out),
    }


def commit() -> str:
    """The commit, with a + where files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout

    changed = git("status", "--porcelain", "--", ".", ":!results", ":!book").strip()
    return git("rev-parse", "--short=10", "HEAD").strip() + ("+" if changed else "")


def tried(name: str, seed: str) -> dict[str, Any]:
    """Run a module; its line of results."""
    with tempfile.TemporaryDirectory() as folder:
        log, report, start = Path(folder, "log.jsonl"), Path(folder, "junit.xml"), monotonic()
        at = commit()
        code = pytest(name, log, report, seed)
        line = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": at,
            "scale": float(os.environ.get(SCALE, "1")),
            "seed": seed,
            "seconds": round(monotonic() - start),
            "counts": counts(log),
            **outcomes(report),
        }
    if code and not line["failed"]:
        line["failed"] = [f"pytest ended with code {code}"]
    return line


def in_turn(names: list[str]) -> list[list[str]]:
    """Modules in lists that may run beside each other: first those that take longest."""
    placed = {name for chain in FIRST for name in chain}
    chains = [*FIRST, *([name] for name in names if name not in placed)]
    asked = [[name for name in chain if name in names] for chain in chains]
    return [chain for chain in asked if chain]


def write(name: str, line: Mapping[str, Any]) -> None:
    """Put the line of one module into the results, which are written whole or not at all."""
    before = json.loads(RESULTS.read_text())["modules"] if RESULTS.exists() else {}
    lines = {old: what for old, what in before.items() if (HERE / f"{old}.py").exists()}
    unfinished = RESULTS.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(
        json.dumps({"modules": dict(sorted({**lines, name: line}.items()))}, indent=1) + "\n"
    )
    unfinished.replace(RESULTS)


def said(lines: Mapping[str, Any]) -> str:
    """The totals in one line."""
    total: Counter[str] = Counter()
    for line in lines.values():
        total.update(line["counts"])
    failed = sum(len(line["failed"]) for line in lines.values())
    skipped = sum(len(line["skipped"]) for line in lines.values())
    mended = sum(len(found(name)) for name in lines)
    return (
        f"cases tried {total['cases']}, faults injected {total['faults']}, inputs fuzzed "
        f"{total['inputs']}, mutants killed {total['killed']} of {total['mutants']}, failures "
        f"found and mended {mended}, failures left {failed}, tests skipped {skipped}"
    )


def main() -> None:
    """Run what is asked for; exit code 1 if anything fails, or is skipped and may not be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("module", nargs="*", help="such as test_soak; all by default")
    parser.add_argument("--workers", type=int, default=2, help="modules at a time (2)")
    parser.add_argument(
        "--seed", default=datetime.now(UTC).strftime("%Y%m%d"), help="of hypothesis"
    )
    parser.add_argument(
        "--may-skip", action="store_true", help="end well where tests are skipped, too"
    )
    options = parser.parse_args()
    now, writing = {}, Lock()

    def run(chain: list[str]) -> None:
        for name in chain:
            line = tried(name, options.seed)
            with writing:  # after each, so that nothing is lost
                now[name] = line
                write(name, line)

    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(run, in_turn(modules(options.module))))  # raises what one of them raises
    print(said(now))
    for name, line in sorted(now.items()):
        for skipped in line["skipped"]:
            print(f"skipped: {name}: {skipped}")
    bad = ("failed",) if options.may_skip else ("failed", "skipped")
    sys.exit(any(line[key] for line in now.values() for key in bad))


if __name__ == "__main__":
    main()
