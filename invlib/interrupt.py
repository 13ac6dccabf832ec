"""Ctrl-C as a request instead of an exception."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def first_interrupt(request: Callable[[], None], *, wanted: bool = True) -> Iterator[None]:
    """Inside, Ctrl-C calls ``request``, which may raise; then the old handler is put back.

    Nothing is changed outside of the main thread, where Ctrl-C is ignored, or where the present
    handler is none of Python's and could not be put back.
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not wanted or not main or before in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: request())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
