"""Cells on Ray: a worker that dies; two nodes in folders of their own, one of which is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import chores
import pytest
import torch
from chapters import ROOT

from invlib.reproduce.engine.attempt import Done
from invlib.reproduce.engine.cluster import on_ray
from invlib.reproduce.engine.runner import run, serial
from invlib.reproduce.engine.work import Cell, load_all

TESTS = Path(chores.__file__).parent


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


def test_a_ray_cluster_that_loses_a_worker_ends_as_the_serial_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("PYTHONPATH", str(TESTS))  # for the workers, which import chores
    monkeypatch.setenv("RAY_worker_niceness", "0")  # or they starve beside other tests
    deadly = Cell("test", chores.deadly, {"number": 3, "folder": str(tmp_path)})
    cells = [*chores.squares(4), deadly]
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    try:
        run(cells, on_ray, tmp_path / "ray")
    finally:
        ray.shutdown()
    assert (tmp_path / "3.flag").exists()  # the worker did die
    run(cells, serial, tmp_path / "serial")
    for cell in cells:
        one, other = cell.load(tmp_path / "ray"), cell.load(tmp_path / "serial")
        assert one is not None and other is not None
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
