"""Do cells of work on one core, on several, or on a cluster; every result is stored at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from .work import FOLDER, Cell

Result = dict[str, Tensor]
Done = tuple[int, Result | Exception]
Engine = Callable[[Sequence[Cell]], Iterator[Done]]  # yields (index, result) as they come
ATTEMPTS = 3


def run(cells: Sequence[Cell], engine: Engine, folder: Path = FOLDER) -> None:
    """Do what is not stored yet, and store each result as soon as it is there.

    Args:
        cells: the work; what is stored for the present code is left alone.
        engine: where it is done: :func:`serial`, :func:`processes` or :func:`on_ray`.
        folder: where results are kept.

    Raises:
        RuntimeError: after all other work is stored, if a cell failed; it names the first.
    """
    single = {json.dumps(cell.config, sort_keys=True): cell for cell in cells}  # figures share some
    todo = [cell for cell in single.values() if cell.load(folder) is None]
    failed = []
    with tqdm(engine(todo), "cells", total=len(todo), unit="cell", disable=not todo) as bar:
        for index, result in bar:
            bar.set_postfix_str(todo[index].label)
            if isinstance(result, Exception):
                failed.append((todo[index], result))
            else:
                todo[index].put(result, folder)
    if failed:
        cell, error = failed[0]
        raise RuntimeError(f"{len(failed)} cells failed; the first, {cell.label}: {error}")


def attempt(cell: Cell) -> Result | Exception:
    """The result of a cell, or why there is none."""
    try:
        return {name: value.cpu() for name, value in cell.result().items()}
    except Exception as error:  # the others go on
        return RuntimeError(f"{type(error).__name__}: {error}")


def serial(cells: Sequence[Cell]) -> Iterator[Done]:
    """One after the other, in this process."""
    for index, cell in enumerate(cells):
        yield index, attempt(cell)


def processes(cells: Sequence[Cell], *, workers: int = 2) -> Iterator[Done]:
    """In several processes of one thread each; the work of one that is killed is tried again.

    The pools of loky and joblib only report a killed process, as this one does; none tries again.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    left, attempts = dict(enumerate(cells)), ATTEMPTS
    while left:
        pool = ProcessPoolExecutor(workers, get_context("spawn"))
        try:
            futures = {pool.submit(attempt, cell): index for index, cell in left.items()}
            for future in as_completed(futures):
                yield futures[future], future.result()
                del left[futures[future]]
        except BrokenProcessPool as error:
            attempts -= 1
            if not attempts:
                reason = RuntimeError(f"the process died {ATTEMPTS} times: {error}")
                yield from ((index, reason) for index in left)
                return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def on_ray(
    cells: Sequence[Cell], *, address: str | None = None, gpus: float | None = None
) -> Iterator[Done]:
    """On a Ray cluster; the work of a lost machine or process is tried again.

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
        if gpus is None:
            gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0))
        task: Any = ray.remote(attempt).options(
            num_cpus=1,
            num_gpus=gpus,
            max_retries=ATTEMPTS - 1,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
        )
        waiting = {task.remote(cell): index for index, cell in enumerate(cells)}
        while waiting:
            (ready,), _ = ray.wait([*waiting], num_returns=1)
            try:
                result = ray.get(ready)
            except ray.exceptions.RayError as error:
                result = RuntimeError(f"lost {ATTEMPTS} times: {type(error).__name__}")
            yield waiting.pop(ready), result
    finally:
        if not known:
            ray.shutdown()


def engine_named(name: str, *, workers: int = 2, address: str | None = None) -> Engine:
    """An engine by its name: ``serial``, ``processes`` or ``ray``.

    Raises:
        ValueError: if there is none of that name.
    """
    engines: dict[str, Engine] = {
        "serial": serial,
        "processes": partial(processes, workers=workers),
        "ray": partial(on_ray, address=address),
    }
    if name not in engines:
        raise ValueError(f"unknown engine {name!r}; use one of {', '.join(engines)}")
    return engines[name]
