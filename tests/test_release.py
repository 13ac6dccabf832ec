"""Versions agree wherever they are named, and what publishes does what it says."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from chapters import ROOT
from declared import PROJECT, pinned, requirements
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from published import published, run
from slow import chosen, slow

import invlib

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYTHON = re.compile(r"python(?::|=|-version: \")(3\.\d+)")


def workflow(path: Path) -> dict[Any, Any]:
    values: dict[Any, Any] = yaml.safe_load(path.read_text())
    return values


# --- versions


def test_the_version_is_the_same_everywhere() -> None:
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert invlib.__version__ == PROJECT["version"] == record["version"]
    [step] = re.findall(r"Set the version in (.*);", (ROOT / "RELEASING.md").read_text())
    for name in re.findall(r"`([^`]+)`", step):
        assert invlib.__version__ in (ROOT / name).read_text(), f"{name} names no version"


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_what_was_tested_together_is_what_is_declared(extra: str) -> None:
    for name, bound in requirements(extra):
        assert name in pinned(), f"constraints.txt has no {name}"
        assert bound.contains(pinned()[name]), f"{name}{bound}: {pinned()[name]} is pinned"


def test_all_environments_are_made_of_the_same_versions() -> None:
    """Of the constraints, and of the Python that these were tested with."""
    [tested] = re.findall(r"\(Python (3\.\d+)\)", (ROOT / "constraints.txt").read_text())
    files = ("environment.yml", ".binder/environment.yml", "Dockerfile")
    files += (".devcontainer/devcontainer.json",)
    jobs = tuple(f".github/workflows/{name}.yml" for name in ("ci", "pages", "alone"))
    for name in files + jobs:
        found = PYTHON.findall((ROOT / name).read_text())
        assert found and set(found) == {tested}, name
    [lowest] = re.findall(r">=(3\.\d+)", PROJECT["requires-python"])
    assert Version(lowest) <= Version(tested)
    listed = workflow(ROOT / "environment.yml")["dependencies"]
    [pip] = [part["pip"] for part in listed if isinstance(part, dict)]
    installs = re.compile(r'-c constraints.txt -e "\.\[(book,[\w,]*)\]"')
    names = ("constraints.txt", "Makefile", ".binder/postBuild")
    [extras] = {part for name in names for part in installs.findall((ROOT / name).read_text())}
    assert all(installs.search((ROOT / name).read_text()) for name in names)
    assert pip == ["-c constraints.txt", f"-e .[{extras}]"]
    assert "RUN make environment" in (ROOT / "Dockerfile").read_text()
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["postCreateCommand"] == "make environment"


def test_binder_reads_its_folder_and_no_file_beside_it() -> None:
    """It would take a Dockerfile first, and any file of its folder that it knows."""
    folder = ROOT / ".binder"
    assert not (ROOT / "binder").exists()
    assert {file.name for file in folder.iterdir()} == {"environment.yml", "postBuild"}
    assert (folder / "postBuild").stat().st_mode & 0o111
    [listed, mine] = [
        [part for part in workflow(ROOT / name)["dependencies"] if isinstance(part, str)]
        for name in ("environment.yml", ".binder/environment.yml")
    ]
    assert mine == listed


def test_colab_has_versions_that_are_allowed() -> None:
    lines = (ROOT / "tests/colab/requirements.txt").read_text().splitlines()
    colab = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0]]
    bounds = dict(requirements("", "all"))
    fixed = {canonicalize_name(each.name): each for each in colab if each.specifier}
    assert len(fixed) > 5
    for name, each in fixed.items():
        [version] = [part.version for part in each.specifier]
        assert name not in bounds or bounds[name].contains(version), name


def test_the_lowest_versions_are_the_declared_ones() -> None:
    lines = dict(line.split("==") for line in run(ROOT / ".ci/lowest").split())
    bounds = {name: str(bound) for name, bound in requirements("", "all")}
    assert {name: f">={version}" for name, version in lines.items()} == bounds


def imported(file: Path) -> set[str]:
    """What a test imports while it is loaded, by itself or by its helpers, from outside."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    helpers = {name for name in names if (file.parent / f"{name}.py").exists()}
    names = names.difference(helpers, sys.stdlib_module_names, {"invlib"})
    return names.union(*(imported(file.parent / f"{name}.py") for name in helpers))


def test_the_lowest_versions_are_tried_on_all_that_they_are_declared_for() -> None:
    """Tests of the core, of pipelines, the embedded model and the command line, and no more."""
    planned = run("make", "-n", "-W", "pyproject.toml", "lowest")
    files = re.findall(r"tests/test_\w+\.py", planned)
    assert {f"tests/test_{name}.py" for name in ("exact", "pipelines", "portraits", "cli")} < {
        *files
    }
    lines = planned.replace("\\\n", "").splitlines()
    [tools] = [line.split('"')[-1].split() for line in lines if '".[all]"' in line]
    there = {name for name, _ in requirements("", "all")} | {*tools, "click", "packaging"}
    for name in files:
        needed = {{"PIL": "pillow", "IPython": "ipython"}.get(n, n) for n in imported(ROOT / name)}
        assert needed <= there, name  # click and packaging come with typer and pytest


# --- workflows


def test_every_python_is_tested() -> None:
    jobs = workflow(ROOT / ".github/workflows/ci.yml")["jobs"]
    matrix = jobs["unit"]["strategy"]["matrix"]["python"]
    assert matrix == ["3.12", "3.13", "3.14"]
    lines = [step.get("run") for job in jobs.values() for step in job["steps"]]
    assert {"make chromium", ".ci/run", "make unit", "make lowest"} <= {*lines}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_job_may_do_no_more_than_it_says(path: Path) -> None:
    """A workflow may do nothing; reading and writing are given to single jobs."""
    values = workflow(path)
    assert values["permissions"] == {}
    for job in values["jobs"].values():
        given = job.get("permissions", {})
        writes = {name for name, what in given.items() if what == "write"}
        assert len(writes) <= 1 or writes == {"pages", "id-token"}
        steps = [step.get("run", "") for step in job["steps"]]
        assert not writes or not any("make" in step or ".ci/run" in step for step in steps)


def test_the_notes_of_a_version_are_those_of_the_changelog() -> None:
    notes = run(ROOT / ".ci/notes", "Unreleased")
    assert notes.startswith("### Added") and "\n## " not in notes
    done = subprocess.run([ROOT / ".ci/notes", "v99.0"], capture_output=True, text=True)
    assert done.returncode == 1 and "no section [99.0]" in done.stderr


def test_what_goes_to_the_index_was_installed_before() -> None:
    """`smoke` needs `build`, and the index needs `smoke`."""
    jobs = workflow(ROOT / ".github/workflows/release.yml")["jobs"]
    assert jobs["index"]["needs"] == "smoke" and jobs["smoke"]["needs"] == "build"
    assert ".ci/smoke dist/*.whl" in [step.get("run") for step in jobs["smoke"]["steps"]]


def test_chapters_are_run_alone_each_week_and_for_each_tag() -> None:
    values = workflow(ROOT / ".github/workflows/alone.yml")
    started = values[True]  # YAML takes the word `on` for that
    assert started["push"] == {"tags": ["v*"]} and started["schedule"]
    runs = values["jobs"]["wheel"]["strategy"]["matrix"]["include"]
    pythons = {run["target"]: run["python"] for run in runs}
    assert pythons == {"smoke": "3.11", "colab": "3.13", "standalone": "3.11"}
    assert "make thorough" in [step.get("run") for step in values["jobs"]["thorough"]["steps"]]


def test_slow_tests_are_left_out_by_one_target_alone() -> None:
    """And every name of the list is that of a test."""
    assert '-m "not slow"' in run("make", "-n", "unit")
    assert '-m "not slow"' not in run("make", "-n", "thorough")
    names = sorted(slow())
    assert (ROOT / "tests/slow.txt").read_text("utf-8").splitlines() == names
    for name in names:
        file, test = name.split("[")[0].split("::")
        assert f"def {test}(" in (ROOT / file).read_text("utf-8"), name


def test_of_a_test_of_many_cases_the_quickest_is_kept() -> None:
    took = {"a.py::f[1]": 2.9, "a.py::f[2]": 1.2, "b.py::g": 9.0, "b.py::h": 0.9}
    assert chosen(took) == ["a.py::f[1]", "b.py::g"]


VENV = """#!/bin/bash
# A Python whose environments have a made-up pip and a made-up invlib.
mkdir -p "$3/bin"
printf '#!/bin/bash\necho "$@" >> {log}\n' > "$3/bin/python"
printf '#!/bin/bash\necho "$HOME $PWD ${{SECRET-none}} $1" >> {log}\n{demo}\n' > "$3/bin/invlib"
chmod +x "$3"/bin/*
"""


def smoked(folder: Path, demo: str) -> subprocess.CompletedProcess[str]:
    """What `.ci/smoke` makes of a wheel whose demonstration is a line of a shell."""
    wheel, python = folder / "a-1.whl", folder / "python"
    wheel.touch()
    python.write_text(VENV.format(log=folder / "log", demo=demo))
    python.chmod(0o755)
    known = {**os.environ, "PYTHON": str(python), "SECRET": "s"}
    command = [ROOT / ".ci/smoke", "a-1.whl"]
    return subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True)


def test_a_wheel_demonstrates_itself_where_nobody_has_been(tmp_path: Path) -> None:
    done = smoked(tmp_path, "ls -A . $HOME; touch round_trip.png")
    assert done.returncode == 0, done.stderr
    installed, asked = (tmp_path / "log").read_text().splitlines()
    assert installed == f"-m pip install -q {tmp_path}/a-1.whl[cli]"
    home, here, secret, command = asked.split()
    assert home != os.environ["HOME"] and (secret, command) == ("none", "demo")
    assert [*map(str.strip, done.stdout.split("\n\n"))] == [".:", f"{home}:"]  # both are empty
    assert not Path(home).exists() and not Path(here).exists()


@pytest.mark.parametrize("demo", ["touch round_trip.png; exit 3", "true", "touch a round_trip.png"])
def test_a_wheel_that_does_not_is_refused(tmp_path: Path, demo: str) -> None:
    """It fails, it draws nothing, or it leaves more than its picture."""
    assert smoked(tmp_path, demo).returncode != 0


# --- the site


def test_the_site_keeps_an_edition_for_each_tag(tmp_path: Path) -> None:
    site = published(tmp_path)
    site.publish("latest", "first")
    assert "url=latest/" in site.there("index.html")
    site.publish("v0.9.0", "old")
    site.publish("v0.10.0", "new")
    site.publish("latest", "second")
    assert site.there("v0.9.0/_sources/page.ipynb") == "old"
    assert site.there("latest/_sources/page.ipynb") == "second"
    assert "url=v0.10.0/" in site.there("index.html")
    assert run("git", "rev-list", "--count", "gh-pages", folder=site.remote).strip() == "1"


def test_who_is_lost_is_led_to_the_edition_that_the_first_page_leads_to(tmp_path: Path) -> None:
    """Pages serves the 404 page of the root alone; none of an edition is ever seen."""
    site = published(tmp_path)
    site.publish("latest", "first")
    assert 'data-edition="latest/"' in site.there("404.html")
    site.publish("v0.10.0", "new")
    site.publish("latest", "second")
    assert 'data-edition="v0.10.0/"' in site.there("404.html")
    assert 'data-edition=""' in site.there("latest/404.html")


def test_a_page_lists_all_editions_the_newest_first(tmp_path: Path) -> None:
    site = published(tmp_path)
    for edition in ("latest", "v0.9.0", "v0.10.0"):
        site.publish(edition, edition)
    listed = re.findall(r'<a href="([^"]+)/">', site.there("editions.html"))
    assert sorted(listed) == ["latest", "v0.10.0", "v0.9.0"]
    assert listed.index("v0.10.0") < listed.index("v0.9.0")
    assert all(site.there(f"{edition}/index.html") == edition for edition in listed)
