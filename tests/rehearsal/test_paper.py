"""``make rehearsal``: the paper's profile from download to the last page, with random weights.

Models come through the protocol of the hub, from loopback; sockets to any other place are refused.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from chapters import ROOT
from loopback_hub import Hub
from rehearsed import command, environment, run

from invlib.claims import NOT_HERE
from invlib.reproduce.differences import pairs
from invlib.reproduce.figures.registry import FIGURES
from invlib.reproduce.models.full_size import FULL_SIZE

MARK = "random weights: rehearsal"
PROFILE = "paper-rehearsal"
MINUTES = 10
SOME = ("abstract", "fig4")
NAMES = [name for name, figure in FIGURES.items() if figure.has(PROFILE)]


@pytest.fixture(scope="module")
def results(hub: Hub, place: Path) -> Path:
    """The folder with all numbers and pages of the profile."""
    before = stored()
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(hub, place / "home", place / "whole")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    seconds = used.ru_utime + used.ru_stime - began.ru_utime - began.ru_stime
    print(f"{seconds:.0f} s of CPU")
    assert seconds < 60 * MINUTES
    assert stored() == before
    return place / "whole" / "results" / PROFILE


def stored() -> dict[str, float]:
    """What must stay as it is: the stored results and pages."""
    files = [*(ROOT / "results").rglob("*"), *(ROOT / "book/figures").rglob("*")]
    return {str(file): file.stat().st_mtime for file in files if file.is_file()}


@cache
def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def test_the_models_came_through_the_hub(results: Path, hub: Hub) -> None:
    served = " ".join(hub.served)
    paper = FULL_SIZE["paper"].places[0]
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        assert f"{paper}/{part}/" in served
    assert "imagenet64_uncond_100M_1500K.pt" in served and ".parquet" in served
    assert "fp16" not in served and ".bin" not in served
    models = read(results / "models.json")["models"]
    assert [row["place"] for row in models][0] == paper
    assert all(row["sha256"] for row in models if row["name"] != "prompts")


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_its_numbers_and_its_page(name: str, results: Path) -> None:
    values = read(results / f"{name}.json")
    assert values["mark"] == MARK and values["profile"] == PROFILE
    assert values["models"] == read(results / "models.json")["models"] and values["rows"]
    cells = nbformat.read(results / f"{name}.ipynb", as_version=4).cells
    assert MARK in cells[1].source
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    claims = read(results / f"{name}.claims.json")
    false = [entry for entry in claims.values() if not entry.get("holds", True)]
    text = "".join(output.get("text", "") for output in outputs)
    assert claims and text.count(NOT_HERE) == len(false)


def test_a_socket_to_another_place_is_refused(hub: Hub, place: Path) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    tried = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(hub, place / "home"),
        capture_output=True,
        text=True,
    )
    assert "blocked: 192.0.2.1" in tried.stderr


def test_killed_at_a_random_moment_it_resumes_and_ends_equal(
    results: Path, hub: Hub, place: Path
) -> None:
    seed = int(time.time())
    moments = random.Random(seed)
    home, folder = place / "other", place / "killed"
    for _ in range(2):
        when = files((home, folder)) + moments.randint(1, 40)
        print(f"seed {seed}: killed with {when} files")
        kill(command(PROFILE, folder, SOME), environment(hub, home), (home, folder), when)
    done = run(hub, home, folder, SOME)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in SOME:
        one, two = (
            read(where / f"{name}.json") for where in (results, folder / "results" / PROFILE)
        )
        assert [(at, a, b) for at, a, b in pairs(one, two, name) if a != b] == []


def kill(words: list[str], variables: dict[str, str], folders: tuple[Path, ...], when: int) -> None:
    """Start a command, and end all of it with no warning when so many files have been written."""
    running = subprocess.Popen(
        words,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while running.poll() is None and files(folders) < when:
        time.sleep(0.02)
    with suppress(ProcessLookupError):  # it has ended already
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def files(folders: tuple[Path, ...]) -> int:
    return sum(len(names) for folder in folders for _, _, names in os.walk(folder))
