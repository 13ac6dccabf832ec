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

from tqdm import tqdm

from .attempt import ATTEMPTS, Done, attempt
from .cluster import on_ray, on_slurm
from .work import FOLDER, Cell

Engine = Callable[[Sequence[Cell]], Iterator[Done]]  # yields (index, result) as they come


def run(cells: Sequence[Cell], engine: Engine, folder: Path = FOLDER) -> None:
    """Do what is not stored yet, and store each result as soon as it is there.

    Args:
        cells: the work; what is stored for the present code is left alone.
        engine: where it is done: :func:`serial`, :func:`processes`, or what
            :mod:`invlib.reproduce.engine.cluster` has.
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


def engine_named(name: str, *, workers: int = 2, address: str | None = None) -> Engine:
    """An engine by its name: ``serial``, ``processes``, ``ray`` or ``slurm``.

    Raises:
        ValueError: if there is none of that name.
    """
    engines: dict[str, Engine] = {
        "serial": serial,
        "processes": partial(processes, workers=workers),
        "ray": partial(on_ray, address=address),
        "slurm": on_slurm,
    }
    if name not in engines:
        raise ValueError(f"unknown engine {name!r}; use one of {', '.join(engines)}")
    return engines[name]
