"""How much is tried: a little in `make test`, all in `make torture`."""

from __future__ import annotations

import os

LOG = "INVLIB_TORTURE_LOG"  # the file that counts are appended to; set by the runner
SCALE = "INVLIB_TORTURE_SCALE"  # the part of all that is tried there, 1 by default


def torturing() -> bool:
    """Whether this is `make torture`."""
    return bool(os.environ.get(LOG))


def amount(quick: int, full: int) -> int:
    """How many cases to try: ``quick`` in `make test`, ``full`` in `make torture`."""
    if not torturing():
        return quick
    return max(1, round(full * float(os.environ.get(SCALE, "1"))))
