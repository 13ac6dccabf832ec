"""Progress on standard error: after two seconds a command says what it does, and goes on saying it.

On a terminal it is one line that is drawn again and again; elsewhere a line is written from time to
time. A thread of its own draws it, so that it is there while a long step computes, too.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, TextIO

from ..pipelines.running import modules_of
from ..watch import Progress

AFTER = 2.0  # seconds until the first line
DRAWN = 0.5  # seconds between two drawings on a terminal
WRITTEN = 10.0  # seconds between two lines elsewhere


class Ticker:
    """Says on a stream what a command does, to be used in a ``with`` statement."""

    def __init__(self, stream: TextIO) -> None:
        self.words, self.began, self.stream = "starting", monotonic(), stream
        self.terminal = stream.isatty()
        self.drawn = False
        self._over, self._lock = Event(), Lock()
        self._thread = Thread(target=self._run, daemon=True)

    def draw(self) -> None:
        """Say it now."""
        seconds = timedelta(seconds=round(monotonic() - self.began))
        with self._lock:
            if self._over.is_set():
                return
            line = f"... {seconds} {self.words}"
            if self.terminal:
                line = f"\r{line[: _width(self.stream) - 1]}\x1b[K"
            else:
                line += "\n"
            with suppress(OSError):  # nobody reads it any more
                self.stream.write(line)
                self.stream.flush()
                self.drawn = True

    def _run(self) -> None:
        wait = AFTER
        while not self._over.wait(wait):
            self.draw()
            wait = DRAWN if self.terminal else WRITTEN

    def end(self) -> None:
        """Say no more, and leave the line of a terminal empty."""
        with self._lock:
            over = self._over.is_set()
            self._over.set()
            if self.terminal and self.drawn and not over:
                with suppress(OSError):
                    self.stream.write("\r\x1b[K")
                    self.stream.flush()

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._thread.join()


def _width(stream: TextIO) -> int:
    """Columns of a terminal; 119 if it does not say."""
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or 119
    return 119


_running: list[Ticker] = []


def ticked(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that says what it does while it does it."""

    @functools.wraps(command)
    def said(*args: Any, **kwargs: Any) -> Any:
        with Ticker(sys.stderr) as ticker:
            _running.append(ticker)
            try:
                return command(*args, **kwargs)
            finally:
                _running.remove(ticker)

    return said


def say(words: str) -> None:
    """What the command does from now on."""
    for ticker in _running:
        ticker.words = words


def follow(progress: Progress) -> None:
    """What a search does; a callback for :class:`invlib.Watch`."""
    level = f": {progress.residual_db:.0f} dB" if math.isfinite(progress.residual_db) else ""
    words = [progress.phase + level, f"{progress.evaluations} evaluations"]
    if progress.samples > 1:
        words.append(f"{progress.solved}/{progress.samples} solved")
    if progress.seconds_left:
        words.append(f"about {timedelta(seconds=round(progress.seconds_left))} left")
    say(", ".join(words))


def fall_silent() -> None:
    """The command has its result, which it shows now."""
    for ticker in _running:
        ticker.end()


@contextmanager
def counting(pipe: Any, words: str) -> Iterator[None]:
    """Say how often networks are called meanwhile."""
    count = 0

    def called(*_: object) -> None:
        nonlocal count
        count += 1
        say(f"{words}, {count} calls of networks")

    say(words)
    hooks = [module.register_forward_hook(called) for module in modules_of(pipe).values()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
