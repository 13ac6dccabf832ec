"""Bad input ends in one line on stderr and exit code 1, never in a traceback."""

from __future__ import annotations

from typing import Any

import torch
import typer
from typer.core import TyperGroup

FAILED, NOT_EXACT = 1, 3
EXPECTED = (ValueError, TypeError, OSError, ImportError, NotImplementedError)


class Reported(TyperGroup):
    """A group of commands that report what the library refuses."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; say what was wrong in one line."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe has seen enough
            raise
        except EXPECTED as error:
            problem = str(error) or type(error).__name__
        except (torch.OutOfMemoryError, MemoryError):
            problem = "out of memory; use fewer steps, a smaller dtype or another device"
        typer.echo(f"error: {' '.join(problem.split())}", err=True)
        raise typer.Exit(FAILED)
