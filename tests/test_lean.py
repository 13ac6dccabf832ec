"""``import invlib`` is quick and needs four packages; what needs more says which extra."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from chapters import ROOT
from declared import PROJECT, requirements
from packaging.utils import canonicalize_name

from invlib import extras

LATE = {"diffusers", "transformers", "accelerate", "pandas", "matplotlib", "typer", "PIL"}
LATE |= {"IPython", "ipywidgets"}
WITHOUT = """
import importlib.abc, sys

class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in absent else real(name, *a)
sys.meta_path.insert(0, Without())
"""


def python(code: str, *absent: str) -> str:
    """What a new Python prints that has not got some packages."""
    start = f"absent = {set(absent)!r}\n{WITHOUT}\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_is_quick_and_imports_nothing_optional() -> None:
    """And the command line starts without pandas, figures and networks."""
    code = """
import time, torch, sys
start = time.process_time()
import invlib
print(time.process_time() - start)
print(*{name.partition(".")[0] for name in sys.modules})
import invlib.cli
print(*{name.partition(".")[0] for name in sys.modules})
"""
    seconds, library, program = python(code).splitlines()
    assert float(seconds) < 2
    assert LATE & set(library.split()) == set()
    assert LATE & set(program.split()) == {"typer", "PIL"}


def test_the_core_works_without_any_extra() -> None:
    code = """
import torch, invlib
from invlib import autoencoder, flow, noisefile, pipelines, reversible, rivals, stars

network = invlib.predicting(lambda x, t: 0.9 * torch.tanh(x), "epsilon")
solver = invlib.dpm_solver_pp_2m(invlib.Schedule.scaled_linear().grid(5))
made = invlib.sample(network, torch.ones(1, 3), solver)
print(invlib.certify(network, invlib.invert(network, made.image, solver), solver).verdict)
"""
    assert python(code, *LATE) == "('exact',)"


MISSING = [  # what is done, without which package, and the extra that brings it
    ("import invlib; invlib.load('portraits')", "diffusers", "diffusers"),
    ("import invlib.portraits", "transformers", "diffusers"),
    ("import invlib.editing", "diffusers", "diffusers"),
    ("import invlib.watermark", "PIL", "diffusers"),
    ("from invlib.__main__ import main; main()", "typer", "cli"),
    ("from invlib.__main__ import main; main()", "accelerate", "diffusers"),
]


def test_what_is_missing_is_said_with_its_extra() -> None:
    """In one process: what fails to be imported is imported anew by the next."""
    code = f"""
for code, absent, _ in {MISSING!r}:
    absent = {{absent}}
    try:
        exec(code)
    except (ImportError, SystemExit) as error:
        print(error)
"""
    lines = python(code).splitlines()
    for line, (_, absent, extra) in zip(lines, MISSING, strict=True):
        assert re.fullmatch(rf"(error: )?this needs {absent}: .*, invlib\[{extra}\]", line)


def test_other_errors_stay_what_they_are() -> None:
    assert extras.explained(ImportError("torn")) == "torn"
    assert extras.explained(ModuleNotFoundError("none", name="toy")) == "none"
    assert find_spec("typer")  # it is here, so its extra would not help
    inner = ModuleNotFoundError("No module named 'typer.x'", name="typer.x")
    assert extras.explained(inner) == str(inner)


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_an_extra_brings_what_it_is_asked_for(extra: str) -> None:
    brought = {name for name, _ in requirements(extra)}
    names = {"PIL": "pillow", "yaml": "pyyaml"}
    assert {canonicalize_name(names.get(n, n)) for n in extras.EXTRAS[extra]} <= brought


def test_four_packages_are_enough() -> None:
    assert {name for name, _ in requirements("")} == {"torch", "numpy", "tqdm", "safetensors"}
    assert (ROOT / "invlib/py.typed").exists()
    assert PROJECT["scripts"] == {"invlib": "invlib.__main__:main"}


# --- versions, where pip has not looked at them


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, for a package that asks for some of it."""
    here = {"torch": "2.9", "numpy": "2.1", "diffusers": "0.36"}
    lines = [
        *("torch>=2.4", "numpy>=1.26"),
        *('invlib[net]; extra == "all"', 'diffusers>=0.35; extra == "net"'),
    ]

    def version(name: str) -> str:
        if name not in here:
            raise extras.metadata.PackageNotFoundError(name)
        return here[name]

    monkeypatch.setattr(extras.metadata, "requires", lambda _: lines)
    monkeypatch.setattr(extras.metadata, "version", version)
    here["invlib"] = "0.1.0"
    return here


def test_versions_that_fit_are_named(declared: dict[str, str]) -> None:
    assert extras.check("all") == "invlib 0.1.0, torch 2.9, numpy 2.1"


def test_versions_that_do_not_fit_are_all_named(declared: dict[str, str]) -> None:
    declared["torch"] = "2.3"
    del declared["diffusers"]
    message = r"^invlib needs torch>=2.4 \(here: 2.3\), diffusers>=0.35 \(here: none\): install"
    with pytest.raises(ImportError, match=message):
        extras.check("all")
    with pytest.raises(ImportError, match=r"^invlib needs torch>=2.4 \(here: 2.3\): install"):
        extras.check("other")
