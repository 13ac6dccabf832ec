"""Kernels for notebooks: one thread each, and an encrypted line to each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

# Without encryption, every kernel warns on the terminal that others on the machine may listen.
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})


def execute(
    notebook: NotebookNode,
    folder: Path,
    *,
    timeout: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run all cells of a notebook, which keeps the outputs.

    Args:
        notebook: it is changed; cells that ran before one that fails keep their outputs.
        folder: where the kernel runs.
        timeout: seconds that one cell may take; by default as long as it likes.
        environment: variables beside those of this process.

    Raises:
        CellExecutionError: if a cell fails.
        CellTimeoutError: if a cell takes too long.
    """
    client = NotebookClient(
        notebook,
        config=ENCRYPTED,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        shutdown_kernel="immediate",  # a polite one complains of an interrupt
        timeout=timeout,
    )
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})})
