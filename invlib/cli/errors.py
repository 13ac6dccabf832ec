"""Bad input ends in one line on stderr and exit code 1, never in a traceback."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from ..extras import explained
from ..memory import is_full

FAILED, NOT_EXACT = 1, 3
EXPECTED = (ValueError, TypeError, OSError, NotImplementedError)
FULL = "out of memory; give a lower --max-batch to invert, a smaller --dtype, or another --device"


class Reported(TyperGroup):
    """A group of commands that report what the library refuses."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; say what was wrong in one line."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe has seen enough
            raise
        except ImportError as error:
            problem = explained(error)
        except EXPECTED as error:
            problem = str(error) or type(error).__name__
        except (RuntimeError, MemoryError) as error:
            if not is_full(error):
                raise
            problem = FULL
        typer.echo(f"error: {' '.join(problem.split())}", err=True)
        raise typer.Exit(FAILED)
