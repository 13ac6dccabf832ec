"""Cells on several machines: a node that is killed, a machine that is slow, jobs of Slurm."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import chores
import pytest

from invlib.reproduce.engine import cluster
from invlib.reproduce.engine.cluster import Tasks, on_slurm
from invlib.reproduce.engine.runner import engine_named, run
from invlib.reproduce.engine.work import Cell, load_all

TESTS = Path(chores.__file__).parent
ROOT = TESTS.parent


class Cluster:
    """A cluster that a test ends by hand: tasks are numbers, and have a result or an error."""

    class exceptions:  # noqa: N801 - as Ray calls it
        RayError = RuntimeError

    def __init__(self) -> None:
        self.tasks: list[Cell] = []
        self.ended: dict[int, Any] = {}
        self.cancelled: list[int] = []

    def remote(self, cell: Cell) -> int:
        self.tasks.append(cell)
        return len(self.tasks) - 1

    def wait(self, tasks: list[int], *, num_returns: int, timeout: float) -> tuple[list, list]:
        return [task for task in tasks if task in self.ended][:num_returns], []

    def get(self, task: int) -> Any:
        if isinstance(self.ended[task], Exception):
            raise self.ended[task]
        return self.ended[task]

    def cancel(self, task: int, *, force: bool) -> None:
        self.cancelled.append(task)


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    monkeypatch.setattr(cluster, "PAUSE", 0.0)
    made = Cluster()
    found = Tasks(made, made, chores.squares(3), places=2)
    found.out = {made.remote(cell): index for index, cell in enumerate(found.cells)}
    return found


def test_what_is_late_is_given_to_an_idle_machine_once(tasks: Tasks) -> None:
    tasks.look()  # nothing is known of how long a cell takes
    for task in (0, 1):
        tasks.ray.ended[task] = (0.01, {"value": task})
        assert [*tasks.take(task)] == [(task, {"value": task})]
    tasks.look()
    assert tasks.out == {2: 2}  # a machine is idle, but it is too early
    tasks.idle -= 1.0
    tasks.look()
    tasks.look()
    assert tasks.out == {2: 2, 3: 2}
    tasks.ray.ended[3] = (0.01, {"value": 4})
    assert [*tasks.take(3)] == [(2, {"value": 4})]
    assert (tasks.out, tasks.ray.cancelled) == ({}, [2])


def test_a_second_attempt_that_is_lost_leaves_the_first(tasks: Tasks) -> None:
    tasks.out = {2: 2, 3: 2}
    tasks.ray.ended[3] = RuntimeError("node died")
    assert [*tasks.take(3)] == []
    tasks.ray.ended[2] = RuntimeError("node died")
    ((index, error),) = tasks.take(2)
    assert index == 2 and "lost 3 times" in str(error)


def test_nothing_is_tried_twice_while_all_machines_work(tasks: Tasks) -> None:
    tasks.seconds, tasks.idle = [0.01], time.monotonic() - 9
    tasks.look()
    assert len(tasks.out) == 3 and tasks.idle is None


def test_jobs_of_slurm_end_as_the_serial_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With submitit's own stand-in: processes of this machine, told over files."""
    pytest.importorskip("submitit", reason="submitit is not installed: invlib[cluster]")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(ROOT)]))  # for the jobs
    bad = Cell("test", chores.failing, {"number": 7})
    cells = chores.squares(2)
    engine = partial(on_slurm, folder=tmp_path / "jobs", cluster="local", hours=0.1)
    with pytest.raises(RuntimeError, match="1 cells failed.*ZeroDivisionError: no 7 today"):
        run([bad, *cells], engine, tmp_path / "store")
    assert [int(result["value"]) for result in load_all(cells, tmp_path / "store")] == [0, 1]


def test_a_job_that_dies_is_named(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: invlib[cluster]")
    cells = [Cell("test", chores.always_deadly, {"number": 3})]
    engine = partial(on_slurm, folder=tmp_path / "jobs", cluster="local", hours=0.1)
    with pytest.raises(RuntimeError, match="1 cells failed; the first, test 3: job"):
        run(cells, engine, tmp_path / "store")


def test_without_submitit_the_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ImportError, match=r"invlib\[cluster\]"):
        next(engine_named("slurm")(chores.squares(1)))
