"""Dependencies are pinned by hash, under licences that are allowed; tools and actions, too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import yaml
from chapters import ROOT
from declared import PROJECT, pinned, requirements

from invlib.reproduce.book import dependencies, licences, locked

LOCK = (ROOT / "constraints.lock").read_text()
TOOLS = (ROOT / ".ci/tools.lock").read_text()
PACKAGES = locked.locked(LOCK)
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
UNTESTED = {"setuptools", "wheel"}  # of the environment itself; pip does not list them
PINNED = re.compile(r"[\w.-]+(?:/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+\b.*")


# --- the lock


def test_the_lock_has_the_versions_that_were_tested_together() -> None:
    versions = {name: PACKAGES[name].version for name in pinned() if name in PACKAGES}
    assert versions == {name: str(version) for name, version in pinned().items()}


def test_what_was_not_tested_is_for_another_system() -> None:
    more = [each for name, each in PACKAGES.items() if name not in {*pinned()} | UNTESTED]
    assert [each.name for each in more if not each.marker] == []


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_the_lock_has_what_is_declared(extra: str) -> None:
    wrong = [n for n, b in requirements(extra) if not b.contains(PACKAGES[n].version)]
    assert wrong == []


@pytest.mark.parametrize("text", [LOCK, TOOLS], ids=["packages", "tools"])
def test_every_file_has_a_hash_and_no_place(text: str) -> None:
    """Where files are fetched from is up to who fetches them."""
    assert len(locked.locked(text)) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) > 20
    assert not re.search(r"://|index-url|find-links|trusted-host", text)


def test_all_tools_are_locked() -> None:
    wanted = [line for line in (ROOT / ".ci/tools.in").read_text().splitlines() if line[0] != "#"]
    assert {name for name, _ in locked.named(wanted)} <= {*locked.locked(TOOLS)}


def test_a_package_without_a_hash_is_noticed() -> None:
    with pytest.raises(ValueError, match="numpy has no hash: run make lock"):
        locked.locked("numpy==2.4.6\n    # via torch\n")


def test_who_brings_a_package_follows_the_lock() -> None:
    project = {
        "name": "p",
        "dependencies": ["a>=1"],
        "optional-dependencies": {"x": ["p[y]", "c"], "y": ["d"]},
    }
    pins = {"a": "p", "b": "a", "c": "p", "d": "p", "e": "d", "f": ".ci/lent.in"}
    text = "".join(
        f"{n}==1 \\\n    --hash=sha256:{'0' * 64}\n    # via {v}\n" for n, v in pins.items()
    )
    found = locked.bringing(project, locked.locked(text))
    assert found == {"a": [""], "b": [""], "c": ["x"], "d": ["y"], "e": ["y"], "f": ["npm"]}


def test_every_package_is_brought_by_something() -> None:
    brought = locked.bringing(PROJECT, PACKAGES)
    assert [name for name, extras in brought.items() if not extras] == []


# --- licences


def test_every_licence_is_known_and_allowed() -> None:
    found = dependencies.licences(ROOT)
    assert {n: e for n, e in found.items() if not e or not licences.allowed(e)} == {}
    said = dependencies.declared(ROOT, "python")
    assert {*said} == {f"{each.name}=={each.version}" for each in PACKAGES.values()}


def test_scripts_have_licences_that_are_allowed() -> None:
    said = dependencies.declared(ROOT, "npm")
    files = [json.loads((ROOT / name).read_text()) for name in dependencies.WEB]
    assert {*said} == {package for lock in files for package in lock}
    assert [package for package, words in said.items() if not licences.allowed(words)] == []


def test_licences_are_read_again_with_every_version() -> None:
    said = dependencies.declared(ROOT, "python")
    for name, each in licences.JUDGED.items():
        assert PACKAGES[name].version == each.version
        assert not licences.allowed(licences.spdx(said[f"{name}=={each.version}"]) or "unknown")
        assert licences.licence(name, f"{each.version}.1", said) == ""


def test_what_is_not_free_comes_with_cuda_alone() -> None:
    of = dependencies.licences(ROOT)
    owned = {name for name, words in of.items() if "roprietary" in words}
    assert owned and all(re.match(r"nvidia-|cuda-toolkit$", name) for name in owned)
    assert all("sys_platform == 'linux'" in PACKAGES[name].marker for name in owned)
    assert not owned & {*pinned()}


@pytest.mark.parametrize("words", ["AGPL-3.0-only", "MIT AND GPL-3.0-only", "unknown", ""])
def test_other_licences_are_refused(words: str) -> None:
    assert not licences.allowed(words)
    assert licences.allowed("GPL-3.0-only OR MIT")


# --- the bill of materials


def test_the_bill_names_all_that_is_locked() -> None:
    bill = run_path(str(ROOT / ".ci/sbom"))["bill"]()
    parts = {part["bom-ref"]: part for part in bill["components"]}
    scripts = json.loads((ROOT / "book/web.json").read_text())
    assert len(parts) == len(bill["components"]) == len(PACKAGES) + len(scripts)
    numpy = PACKAGES["numpy"]
    part = parts[f"pkg:pypi/numpy@{numpy.version}"]
    files = {one["content"] for ref in part["externalReferences"] for one in ref["hashes"]}
    assert files == {*numpy.hashes}
    assert part["licenses"] == [{"expression": dependencies.licences(ROOT)["numpy"]}]
    requires = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert part["purl"] in requires[f"pkg:pypi/{PROJECT['name']}@{PROJECT['version']}"]
    assert part["purl"] in requires[f"pkg:pypi/scipy@{PACKAGES['scipy'].version}"]
    assert {on for refs in requires.values() for on in refs} == {*parts} & {*requires}


# --- the audit


def audited(folder: Path, answer: str) -> tuple[int, str]:
    """Run the audit with a pip-audit that gives an answer, a line of Python."""
    (folder / "pip_audit.py").write_text(f"import json, sys\n{answer}\n")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/audit"], env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout


SAYS = """
control = "constraints.lock" not in sys.argv
hole = {"id": "CVE-0", "fix_versions": ["2"]}
print(json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": [hole] * N}]}))"""
SKIPS = 'print(json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found"}]}))'
HALF = f"""
if "constraints.lock" in sys.argv:
    {SKIPS}
    sys.exit()
{SAYS.replace("N", "1")}"""


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (SAYS.replace("N", "control"), 0, "1 packages, 0 not audited, 0 known vulnerabilities"),
        (SAYS.replace("N", "1"), 1, "a 1: CVE-0, mended in 2"),
        (SKIPS, 3, "not audited: no database"),
        ("sys.exit('no network')", 3, "not audited: no database"),
        (HALF, 3, "not audited: a: not found"),
    ],
    ids=["clean", "holes", "skipped", "no network", "half"],
)
def test_an_audit_that_looked_nothing_up_is_no_success(
    tmp_path: Path, answer: str, code: int, said: str
) -> None:
    assert (found := audited(tmp_path, answer))[0] == code, found
    assert said in found[1]


# --- workflows


def jobs() -> dict[str, dict[str, Any]]:
    """All jobs of all workflows."""
    found = {path.stem: yaml.safe_load(path.read_text())["jobs"] for path in WORKFLOWS}
    return {f"{name}: {job}": what for name, each in found.items() for job, what in each.items()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    used = re.findall(r"uses: (.+)", path.read_text())
    assert used and [line for line in used if not PINNED.fullmatch(line)] == []


def test_an_action_has_one_commit_everywhere() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS)
    found = dict(re.findall(r"uses: (\S+)@(\S+)", text))
    assert {*re.findall(r"uses: (\S+)@(\S+)", text)} == {*found.items()}


@pytest.mark.parametrize("name", jobs())
def test_every_job_says_what_it_may_do(name: str) -> None:
    """And leaves no token behind in the clone, but where it pushes with it."""
    job = jobs()[name]
    assert job["permissions"] != {} and isinstance(job["permissions"], dict)
    pushes = any(".ci/publish" in step.get("run", "") for step in job["steps"])
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            kept = step.get("with", {}).get("persist-credentials", True)
            assert kept == pushes
    assert pushes <= (job["permissions"].get("contents") == "write")


def test_no_expression_stands_in_a_script() -> None:
    """What a branch or tag is called would run there; as a variable it is text."""
    scripts = [step.get("run", "") for job in jobs().values() for step in job["steps"]]
    assert [script for script in scripts if "${{" in script] == []
