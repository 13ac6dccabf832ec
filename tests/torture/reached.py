"""Which lines and branches of the core the tests reach: ``python tests/torture/reached.py``.

Writes results/coverage.json, and what mutants.py needs below _build/coverage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import coverage
from reach import SECONDS
from run import commit

from invlib.whole import write_text

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "_build/coverage"
DATA, TIMES = FOLDER / "data", FOLDER / "seconds.json"
RESULTS = ROOT / "results/coverage.json"
FILES = (
    "schedule denoisers solvers probing rootfind newton evaluator precision certificate sampling "
    "inversion metrics certifying continuous affine fixed_rows bridge split watch"
)
FOLDERS = "inverters autoencoder pipelines"
CORE = (
    *(f"invlib/{name}.py" for name in FILES.split()),
    *(f"invlib/{name}/*.py" for name in FOLDERS.split()),
)
TESTS = (
    "schedule continuous solvers denoisers probing rootfind precision certificate inversion exact "
    "implicit multisecant persistent autoencoder joint affine devices device_use sentence decoders "
    "pipeline_traces pipeline_calls pipelines reading watch pipeline_hypothesis fixed_rows "
    "starts replay bridge split metrics equality options saving noisefile find_prompt "
    "likelihood_pipelines"
)


def measure() -> int:
    """Run the tests; the exit code of pytest."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "coverage", "run", "--branch", "--source=invlib"]
    command += [f"--data-file={DATA}", "-m", "pytest", "-q", "-p", "reach"]
    command += [f"tests/test_{name}.py" for name in TESTS.split()]
    here = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    environment = {"PYTHONPATH": here, "OMP_NUM_THREADS": "1", SECONDS: str(TIMES)}
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, check=False
    ).returncode


def files() -> list[str]:
    """The core's files, from the root."""
    return [str(p.relative_to(ROOT)) for pattern in CORE for p in sorted(ROOT.glob(pattern))]


def found() -> dict[str, dict[str, Any]]:
    """For each file how many lines and branches are reached, of how many, and which are not."""
    measured = coverage.Coverage(data_file=str(DATA))
    measured.load()
    with (FOLDER / "report.json").open("w") as report:
        measured.json_report([str(ROOT / file) for file in files()], outfile=report.name)
    lines = json.loads((FOLDER / "report.json").read_text())["files"]
    return {
        file: {
            "lines": [of["summary"]["covered_lines"], of["summary"]["num_statements"]],
            "branches": [of["summary"]["covered_branches"], of["summary"]["num_branches"]],
            "missing_lines": of["missing_lines"],
            "missing_branches": of["missing_branches"],
        }
        for file, of in sorted(lines.items())
    }


def share(of: Mapping[str, Mapping[str, Any]], kind: str) -> float:
    """Which part of all lines or branches is reached."""
    reached, every = (sum(line[kind][k] for line in of.values()) for k in (0, 1))
    return reached / max(every, 1)


def main() -> None:
    """Run and write; exit code 1 if a test fails."""
    at = commit()
    code = measure()
    of = found()
    now = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": at, "files": of}
    write_text(RESULTS, json.dumps(now, indent=1) + "\n")
    print(f"lines {share(of, 'lines'):.1%}, branches {share(of, 'branches'):.1%}")
    sys.exit(code)


if __name__ == "__main__":
    main()
