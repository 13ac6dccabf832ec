"""Work in processes of its own, which may be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

Work = Callable[[], Any]
FORKED = multiprocessing.get_context("fork")  # a new Python would import for seconds


def child(work: Work) -> Any:
    """Begin some work in a process of its own, quietly."""

    def quiet() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        tqdm.set_lock(threading.RLock())  # a thread that is not here may have held the old one
        work()
        os._exit(0)

    process = FORKED.Process(target=quiet)
    process.start()
    return process


def killed(work: Work, seconds: float) -> bool:
    """Run some work and kill it after a time; whether it was still at work then."""
    process = child(work)
    process.join(seconds)
    late = process.is_alive()
    if late:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return bool(late)
