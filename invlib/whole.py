"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name to write to, of its own for each writer, that takes the file's place in one step.

    Whoever reads the file meanwhile sees the old one, or none; so does whoever comes after a crash.

    Args:
        path: the file; an existing one is replaced.

    Raises:
        OSError: if it cannot be written, by safetensors, too; what was there stays.
    """
    path = Path(path)
    part = aside(path)
    try:
        yield part
        settle(part)
        os.replace(part, path)
    except SafetensorError as error:  # what safetensors makes of a full or read-only disk
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def aside(path: Path) -> Path:
    """A name in the same folder that no other writer has."""
    return path.with_name(f".{os.getpid()}-{secrets.token_hex(6)}.part")


def settle(part: Path) -> None:
    """Wait until a file is on the disk, so that its name never is there before its content."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a text, in UTF-8, whole or not at all."""
    with whole(path) as part:
        part.write_text(text, "utf-8")
