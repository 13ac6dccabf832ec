"""Cells of work for the tests of the runner: quick, slow, failing and deadly ones."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from invlib.reproduce.engine.work import Cell

Tensors = dict[str, torch.Tensor]


def square(number: int) -> Tensors:
    return {"value": torch.tensor(number**2)}


def slow(number: int, seconds: float) -> Tensors:
    time.sleep(seconds)
    return square(number)


def failing(number: int) -> Tensors:
    raise ZeroDivisionError(f"no {number} today")


def deadly(number: int, folder: str) -> Tensors:
    """Kill the process at the first attempt, as the system does when memory is short."""
    flag = Path(folder) / f"{number}.flag"
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), 9)
    return square(number)


def always_deadly(number: int) -> Tensors:
    os.kill(os.getpid(), 9)
    return square(number)


def squares(count: int) -> list[Cell]:
    return [Cell("test", square, {"number": number}) for number in range(count)]


def straggling(number: int, folder: str) -> Tensors:
    """Never end at the first attempt, as on a machine that thrashes."""
    flag = Path(folder) / f"{number}.slow"
    if not flag.exists():
        flag.touch()
        time.sleep(3600)
    return square(number)


def meeting(number: int, folder: str, count: int) -> Tensors:
    """Wait until so many of these run at once, and say whose child this process is."""
    (Path(folder) / f"{number}.here").touch()
    while len([*Path(folder).glob("*.here")]) < count:
        time.sleep(0.05)
    return {**square(number), "parent": torch.tensor(os.getppid())}
