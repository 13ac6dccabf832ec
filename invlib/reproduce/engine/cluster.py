"""Cells of work on many machines: a Ray cluster, or jobs of Slurm."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .attempt import ATTEMPTS, Done, Result, attempt
from .work import Cell

LATE = 4.0  # times the usual duration of a cell after which an idle machine gets it, too
PAUSE = 1.0  # seconds between two looks at what is still out


def on_ray(
    cells: Sequence[Cell], *, address: str | None = None, gpus: float | None = None
) -> Iterator[Done]:
    """On a Ray cluster; the work of a lost or slow machine or process is tried again.

    As soon as machines are idle, what takes ``LATE`` times as long as usual is given to another
    one, too; the first result counts.

    Args:
        cells: the work. Every machine needs the same version of invlib.
        address: the cluster, such as ``auto``; by default Ray starts one on this machine.
        gpus: GPUs a cell; by default one if the cluster has any.

    Raises:
        ImportError: if Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("this needs Ray: install the extra invlib[cluster]") from error

    known = ray.is_initialized()
    if not known:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    try:
        found = ray.cluster_resources()
        if gpus is None:
            gpus = min(1.0, found.get("GPU", 0.0))
        task: Any = ray.remote(timed).options(
            num_cpus=1,
            num_gpus=gpus,
            max_retries=ATTEMPTS - 1,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
        )
        places = int(found.get("GPU", 0.0) / gpus if gpus else found.get("CPU", 1.0))
        yield from Tasks(ray, task, cells, places).results()
    finally:
        if not known:
            ray.shutdown()


def timed(cell: Cell) -> tuple[float, Result | Exception]:
    """An attempt at a cell, and the seconds that it took."""
    began = time.monotonic()
    result = attempt(cell)
    return time.monotonic() - began, result


@dataclass
class Tasks:
    """The cells that are out on a cluster.

    Attributes:
        ray: the module.
        task: :func:`timed` as a remote function.
        cells: the work.
        places: cells that run at once.
        out: the tasks, and the cell of each; a cell may be in two of them.
        seconds: how long the cells took that are done.
        idle: since when there are more places than cells that are out; None while there are not.
    """

    ray: Any
    task: Any
    cells: Sequence[Cell]
    places: int
    out: dict[Any, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    idle: float | None = None

    def results(self) -> Iterator[Done]:
        """Results as they come, one a cell."""
        self.out = {self.task.remote(cell): index for index, cell in enumerate(self.cells)}
        while self.out:
            ready, _ = self.ray.wait([*self.out], num_returns=1, timeout=PAUSE)
            for one in ready:
                if one in self.out:
                    yield from self.take(one)
            self.look()

    def take(self, one: Any) -> Iterator[Done]:
        """The result of a task that has ended, unless another one has the same cell still."""
        index, result = self.out.pop(one), None
        others = [task for task, cell in self.out.items() if cell == index]
        try:
            seconds, result = self.ray.get(one)
            self.seconds.append(seconds)
        except self.ray.exceptions.RayError as error:
            if others:
                return
            result = RuntimeError(f"lost {ATTEMPTS} times: {type(error).__name__}")
        for other in others:
            del self.out[other]
            self.ray.cancel(other, force=True)
        yield index, result

    def look(self) -> None:
        """Try again what takes too long, once there is room for it: all that is out runs then."""
        now, out = time.monotonic(), [*self.out.values()]
        if len(out) >= self.places or not self.seconds:
            self.idle = None
            return
        self.idle = self.idle or now
        if now - self.idle > max(PAUSE, LATE * median(self.seconds)):
            for index in [i for i in out if out.count(i) == 1][: self.places - len(out)]:
                self.out[self.task.remote(self.cells[index])] = index


def on_slurm(
    cells: Sequence[Cell],
    *,
    folder: Path = Path(".cache/slurm"),
    cluster: str | None = None,
    hours: float = 4.0,
    at_once: int = 64,
    **options: Any,
) -> Iterator[Done]:
    """One job a cell in an array of Slurm, with one GPU each; run it on the login node.

    Args:
        cells: the work. The folder of this checkout has to be on all machines.
        folder: for the logs, and for what jobs and this process tell each other.
        cluster: ``local`` for processes of this machine; by default what submitit finds.
        hours: that a job may take.
        at_once: jobs that run side by side.
        options: more for ``submitit.AutoExecutor.update_parameters``, such as
            ``slurm_partition="gpu"``.

    Raises:
        ImportError: if submitit is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise ImportError("this needs submitit: install the extra invlib[cluster]") from error

    executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=ATTEMPTS - 1)
    executor.update_parameters(
        name="invlib",
        timeout_min=max(1, round(60 * hours)),
        cpus_per_task=1,
        slurm_array_parallelism=at_once,
        **({} if cluster == "local" else {"gpus_per_node": 1}) | options,
    )
    jobs = dict(enumerate(executor.map_array(attempt, cells)))
    while jobs:
        ended = [index for index, job in jobs.items() if job.done()]
        for index in ended:
            job = jobs.pop(index)
            lost = job.exception()
            yield index, RuntimeError(f"job {job.job_id}: {lost}") if lost else job.result()
        time.sleep(0 if ended else PAUSE)
