"""Which mutants of the core the tests notice: ``python tests/torture/mutants.py [MODULE ...]``.

The runner of cosmic-ray starts Python for every mutant, which imports torch and diffusers each
time. Here a process that has imported them forks for every mutant, and the child imports the
changed module and runs the tests that reach the changed line, by what `make coverage` found. A
mutant that was killed is not tried again as long as it, its file and the test that killed it are
the same; so a run takes up where another was interrupted.
"""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import coverage
import pytest
from changes import ROOT, Mutant, count, sample

DATA, TIMES = ROOT / "_build/coverage/data", ROOT / "_build/coverage/seconds.json"
STATE = ROOT / "_build/mutants"
RESULTS, JUDGED = ROOT / "results/mutants.json", Path(__file__).parent / "survivors.json"
MODULES: dict[str, tuple[str, ...]] = {
    "schedule": ("invlib/schedule.py",),
    "solvers": ("invlib/solvers.py",),
    "probing": ("invlib/probing.py",),
    "rootfind": ("invlib/rootfind.py",),
    "certificate": ("invlib/certificate.py",),
    "precision": ("invlib/precision.py",),
    "inverters": tuple(
        f"invlib/inverters/{p.name}" for p in sorted((ROOT / "invlib/inverters").glob("*.py"))
    ),
    "newton, evaluator": ("invlib/newton.py", "invlib/evaluator.py"),
    "sampling, results": ("invlib/sampling.py", "invlib/inversion.py", "invlib/metrics.py"),
    "reading of pipelines": tuple(
        f"invlib/pipelines/{name}.py"
        for name in ("reading", "recording", "replay", "stage", "state", "network")
    ),
}
NAMES = ("file", "function", "before", "after")  # what tells mutants apart
VERDICT: Mapping[str, Any] = {"equivalent": False, "why": ""}  # of one that nobody has judged
SEED = "invlib"  # the same mutants every time, so that each survivor can be judged
MOST = 30  # of each module
ENOUGH = 15.0  # seconds of tests that a mutant has to survive, unless all that reach it are faster
SLOWER, LEAST = 10, 10.0  # a test runs without an end after so many times its time, and seconds
EVERY = ("accelerate", "diffusers", "hypothesis", "matplotlib.pyplot", "scipy.stats", "tqdm.auto")
EVERY += ("torch", "torch.func", "transformers", "safetensors.torch", "PIL.Image", "pandas")
LAZY = {"diffusers": ("DDIMScheduler", "DPMSolverMultistepScheduler", "StableDiffusionPipeline")}
LAZY |= {"transformers": ("CLIPTextModel", "CLIPTokenizer")}


# --- the tests


@cache
def measured() -> coverage.CoverageData:
    """What `make coverage` found."""
    if not DATA.exists():
        raise FileNotFoundError(f"{DATA} is missing: run `make coverage` first, or test_coverage")
    found = coverage.CoverageData(basename=str(DATA))
    found.read()
    return found


@cache
def seconds() -> Mapping[str, float]:
    """How long each test takes that passes."""
    return json.loads(TIMES.read_text())


def chosen(mutant: Mutant) -> list[str]:
    """The tests that reach a mutant, those of its own file first, then the fastest.

    What is done at import is reached by every test that reaches its file.
    """
    reached = measured().contexts_by_lineno(str(ROOT / mutant.file))
    here = {name for line in mutant.span for name in reached.get(line, ())}
    if not here & {*seconds()} and "" in here:
        here = {name for names in reached.values() for name in names}
    tests = here & {*seconds()}
    own = f"tests/test_{Path(mutant.file).stem}.py"
    ordered = sorted(tests, key=lambda test: (not test.startswith(own), seconds()[test], test))
    spent, enough = 0.0, [*new(own)] if tests else []
    for test in ordered:
        spent += seconds()[test]
        if enough and spent > ENOUGH:
            break
        enough.append(test)
    return enough


@cache
def new(file: str) -> list[str]:
    """The tests of a file that `make coverage` does not know yet."""
    known = {name.partition("[")[0] for name in measured().measured_contexts()}
    body = ast.parse((ROOT / file).read_text()).body if (ROOT / file).is_file() else []
    named = (f"{file}::{node.name}" for node in body if isinstance(node, ast.FunctionDef))
    return [name for name in named if "::test_" in name and name not in known]


def text(test: str) -> str:
    """The source of a test; empty where there is none any more."""
    file, *_, name = test.split("::")
    if not (ROOT / file).is_file():
        return ""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == name.partition("[")[0]:
            return ast.unparse(node)
    return ""


# --- one mutant, in a process of its own


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Imports one module from another source."""

    def __init__(self, file: str, source: str) -> None:
        self.name = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.file, self.source = ROOT / file, source

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.name:
            return None
        package = self.file.name == "__init__.py"
        spec = importlib.util.spec_from_loader(name, self, is_package=package)
        if spec and package:
            spec.submodule_search_locations = [str(self.file.parent)]
        return spec

    def get_filename(self, name: str) -> str:
        return str(self.file)

    def get_data(self, path: str) -> bytes:
        return self.source.encode()


class _Watcher:
    """Says which test failed, and ends the process where a test runs without an end."""

    def __init__(self, out: int) -> None:
        self.out = out

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        most = max(LEAST, SLOWER * seconds().get(nodeid, 0.0))
        signal.setitimer(signal.ITIMER_PROF, most)  # of CPU; SIGPROF ends the process

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self.out, report.nodeid.encode())


def prepare() -> None:
    """Import all that no mutant changes, once."""
    for name in EVERY:
        importlib.import_module(name)
    for name, parts in LAZY.items():
        for part in parts:
            getattr(sys.modules[name], part)
    assert not [name for name in sys.modules if name.partition(".")[0] == "invlib"]
    sys.path.insert(0, str(ROOT))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    gc.collect()
    gc.freeze()  # else each child copies what its garbage collector looks at: 1.3 s, not 0.2


def run(mutant: Mutant, tests: Sequence[str], *more: str) -> tuple[str, str]:
    """What became of a mutant: ``killed``, ``timed out`` or ``survived``; and by which test."""
    if not tests:
        return "survived", ""
    sys.stdout.flush()
    told, out = os.pipe()
    child = os.fork()
    if not child:
        code = 99
        try:
            said = os.open(STATE / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            sys.meta_path.insert(0, _Changed(mutant.file, mutant.source))
            signal.setitimer(signal.ITIMER_PROF, 60)  # to import
            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin"]
            code = int(pytest.main([*options, *more, *tests], plugins=[_Watcher(out)]))
        finally:
            os._exit(code)
    os.close(out)
    with os.fdopen(told) as pipe:
        by = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
        return "timed out", by
    return ("killed" if status else "survived"), by


# --- all of a module


def digest(*texts: str) -> str:
    """A hash of texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def tried(mutant: Mutant, state: dict[str, Any]) -> tuple[str, str]:
    """What became of a mutant, now or, if nothing that matters has changed, in an earlier run."""
    key = digest((ROOT / mutant.file).read_text(), mutant.source)
    before = state.get(key)
    if before and before["became"] != "survived":
        if not before["by"] or digest(text(before["by"])) == before["text"]:
            return before["became"], before["by"]
    became, by = run(mutant, chosen(mutant))
    state[key] = {"became": became, "by": by, "text": digest(text(by)) if by else ""}
    return became, by


def check(killed: Mapping[Mutant, str]) -> None:
    """Without a mutant the tests that killed some pass, and where imports did, all are found."""
    for mutant, by in {(m.file, by): (m, by) for m, by in killed.items()}.values():
        unchanged = replace(mutant, source=(ROOT / mutant.file).read_text())
        became = run(unchanged, [by]) if by else run(unchanged, chosen(mutant), "--collect-only")
        if became[0] != "survived":
            sys.exit(f"{mutant.file} unchanged is {became[0]} by {by}: see {STATE}/said")


def judged() -> dict[tuple[str, ...], Mapping[str, Any]]:
    """Why a mutant may survive, and whether nobody could notice it, by what it changes."""
    lines = json.loads(JUDGED.read_text())
    return {tuple(e[name] for name in NAMES): {k: e[k] for k in VERDICT} for e in lines}


def module(name: str, most: int) -> dict[str, Any]:
    """Try the mutants of a module; a line of results."""
    STATE.mkdir(parents=True, exist_ok=True)
    files, kept = MODULES[name], STATE / f"{digest(name)[:12]}.json"
    state = json.loads(kept.read_text()) if kept.exists() else {}
    mutants = sample(files, most, SEED)
    found: Counter[str] = Counter()
    left, killers = [], {}
    for k, mutant in enumerate(mutants):
        start = perf_counter()
        became, by = tried(mutant, state)
        if became == "killed":
            killers[mutant] = by
        kept.write_text(json.dumps(state, indent=1))
        found[became] += 1
        place = f"{mutant.file}:{mutant.line} {mutant.function}"
        print(f"{k + 1}/{len(mutants)} {became} in {perf_counter() - start:.0f} s, {place}:")
        print(f"   - {mutant.before}\n   + {mutant.after}", flush=True)
        if became == "survived":
            verdict = judged().get(mutant.key, VERDICT)
            left.append({**dict(zip(NAMES, mutant.key, strict=True)), **verdict})
    check(killers)
    return {
        "places": count(files),
        "mutants": len(mutants),
        "killed": found["killed"] + found["timed out"],
        "timed out": found["timed out"],
        "survived": left,
    }


def main() -> None:
    """Try what is asked for, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("module", nargs="*", help="such as schedule; all by default")
    parser.add_argument("--most", type=int, default=MOST, help=f"mutants of each ({MOST})")
    options = parser.parse_args()
    if unknown := {*options.module} - {*MODULES}:
        sys.exit(f"no module {', '.join(unknown)}; there are: {', '.join(MODULES)}")
    os.chdir(ROOT)
    at = os.popen("git rev-parse --short=10 HEAD").read().strip()
    prepare()
    for name in options.module or MODULES:
        line = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": at,
            **module(name, options.most),
        }
        lines = json.loads(RESULTS.read_text())["modules"] if RESULTS.exists() else {}
        lines = {old: (line if old == name else lines.get(old)) for old in MODULES}
        part = RESULTS.with_suffix(f".{os.getpid()}.part")
        part.write_text(
            json.dumps({"modules": {k: v for k, v in lines.items() if v}}, indent=1) + "\n"
        )
        part.replace(RESULTS)
        print(f"{name}: killed {line['killed']} of {line['mutants']}", flush=True)


if __name__ == "__main__":
    main()
