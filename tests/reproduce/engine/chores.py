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
