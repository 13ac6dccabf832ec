"""Cells on several machines: a node that is killed, a machine that is slow, jobs of Slurm."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import chores
import pytest
import torch

from invlib.reproduce.engine import cluster
from invlib.reproduce.engine.attempt import Done
from invlib.reproduce.engine.cluster import Tasks, on_ray, on_slurm
from invlib.reproduce.engine.runner import engine_named, run, serial
from invlib.reproduce.engine.work import Cell, load_all

TESTS = Path(__file__).parent
ROOT = TESTS.parents[2]


class Nodes:
    """Ray on two nodes: processes of their own in folders of their own, joined by a port."""

    def __init__(self, folder: Path, sessions: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        port = self.address.partition(":")[2]
        self.nodes: list[subprocess.Popen] = []
        head = ("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={sessions}")
        self.start(folder / "one", *head)
        self.start(folder / "two", f"--address={self.address}")

    def start(self, home: Path, *options: str) -> None:
        home.mkdir()
        paths = os.pathsep.join([str(TESTS), str(ROOT)])
        env = {**os.environ, "PYTHONPATH": paths, "RAY_worker_niceness": "0"}
        env["RAY_AUTH_MODE"] = "disabled"  # the cluster is on loopback only
        ray = Path(sys.executable).with_name("ray")
        common = ("--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats")
        common += ("--node-ip-address=127.0.0.1",)
        self.nodes.append(
            subprocess.Popen(
                [ray, "start", "--block", *common, *options],
                cwd=home,
                env=env,
                start_new_session=True,
                stdout=(home / "log").open("w"),
                stderr=subprocess.STDOUT,
            )
        )

    def kill(self, node: int) -> None:
        """As a machine that loses its power."""
        try:
            os.killpg(self.nodes[node].pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.nodes[node].wait()


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray = pytest.importorskip("ray", reason="Ray is not installed: invlib[cluster]")
    # a short name, for sockets; not Ray's own folder, where a later run would look for the cluster
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as sessions:
        found = Nodes(tmp_path, sessions)
        try:
            wait_for(found, ray)
            yield found
        finally:
            ray.shutdown()
            for node in reversed(range(len(found.nodes))):
                found.kill(node)


def wait_for(nodes: Nodes, ray: Any) -> None:
    """Join the cluster once both nodes are there."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        try:
            if not ray.is_initialized():
                ray.init(address=nodes.address, log_to_driver=False)
            if ray.cluster_resources().get("CPU") == 2:
                return
        except (ConnectionError, RuntimeError):
            pass
        time.sleep(1)
    raise TimeoutError("the cluster of two nodes did not come up")


@pytest.mark.slow
def test_two_nodes_one_killed_and_one_slow_end_as_one_process_does(
    nodes: Nodes, tmp_path: Path
) -> None:
    """Half-way a node dies; its cells, and one that hangs, are done on the other."""
    slow = Cell("test", chores.straggling, {"number": 50, "folder": str(tmp_path)})
    place = {"folder": str(tmp_path), "count": 2}
    both = [Cell("test", chores.meeting, {"number": n, **place}) for n in (100, 101)]
    cells = [Cell("test", chores.slow, {"number": n, "seconds": 1.0}) for n in range(8)]
    came: list[int] = []

    def killing(todo: Sequence[Cell]) -> Iterator[Done]:
        for done in on_ray(todo):
            came.append(done[0])
            if len(came) == len(cells) // 2:
                nodes.kill(1)
            yield done

    run(both, on_ray, tmp_path / "store")
    assert len({int(r["parent"]) for r in load_all(both, tmp_path / "store")}) == 2
    run(cells, killing, tmp_path / "store")
    assert sorted(came) == list(range(len(cells)))
    nodes.start(tmp_path / "three", f"--address={nodes.address}")
    import ray

    wait_for(nodes, ray)
    more = [slow, *chores.squares(4)]
    run(more, on_ray, tmp_path / "store")
    assert (tmp_path / "50.slow").exists()  # it did hang
    run([*cells, *more], serial, tmp_path / "alone")
    for cell in (*cells, *more):
        one, other = cell.load(tmp_path / "store"), cell.load(tmp_path / "alone")
        assert one is not None and other is not None
        assert torch.equal(one["value"], other["value"])
    assert not list((tmp_path / "one").rglob("*.safetensors"))  # what came, came over the network


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
