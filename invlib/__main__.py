"""The command line: ``invlib``, or ``python -m invlib``."""

import os
import sys
from contextlib import suppress

from .extras import explained

INTERRUPTED = 130


def main() -> None:
    """Run the command line; where its extra is missing, say so in one line."""
    _open_streams()
    code = _ended()
    try:
        sys.stdout.flush()
    except OSError as error:
        _let_go(sys.stdout)
        code = code or f"error: cannot write the answer: {error.strerror}"
    sys.exit(code)


def _ended() -> int | str | None:
    """The exit code of the command, or the one line that says why there is none."""
    try:
        from .cli import app

        app(prog_name="invlib")
    except SystemExit as end:
        return end.code
    except ImportError as error:
        return f"error: {explained(error)}"
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("INVLIB_TRACEBACK"):
            raise
        return f"error: {type(error).__name__}: {' '.join(str(error).split())}"
    return 0


def _open_streams() -> None:
    """Put something harmless where a standard stream is closed, or a file would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _let_go(stream: object) -> None:
    """What could not be written is not tried again when Python ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
