"""Files that a command writes: all of them or none, and none over another unasked."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from ..whole import aside, settle


@dataclass
class Outputs:
    """Where to write, and what became of it.

    Attributes:
        parts: names to write to, one a file.
        files: the files, once all are written.
    """

    parts: list[Path]
    files: list[Path] = field(default_factory=list)


@contextmanager
def outputs(*paths: Path, force: bool) -> Iterator[Outputs]:
    """Names to write to; the files get theirs when all are written, and only then.

    Where a file of that name has come meanwhile, it stays, and the new one gets another name,
    which is said: what took an hour is not thrown away.

    Args:
        paths: the files, which :func:`free` has looked at before.
        force: whether they replace others.
    """
    made = Outputs([aside(path) for path in paths])
    try:
        yield made
        for part in made.parts:
            settle(part)
        for part, path in zip(made.parts, paths, strict=True):
            _place(part, path, made.files, force=force)
    except BaseException:  # Ctrl-C, too; what a file has replaced cannot come back
        for file in () if force else made.files:
            file.unlink(missing_ok=True)
        raise
    finally:
        for part in made.parts:
            part.unlink(missing_ok=True)


def _place(part: Path, path: Path, files: list[Path], *, force: bool) -> None:
    """Give a file its name, or another one if that is taken, and note it among the files."""
    if force:
        os.replace(part, path)
        files.append(path)
        return
    for number in itertools.count():
        name = path.with_stem(f"{path.stem}-{number}") if number else path
        try:
            os.link(part, name)  # unlike a move it never replaces a file
        except FileExistsError:
            continue
        except OSError:  # a disk without hard links
            if name.exists():
                continue
            os.replace(part, name)
        files.append(name)
        if number:
            typer.echo(f"{path} has come meanwhile; this is {name}", err=True)
        return
    raise AssertionError("there is always another number")


def names_for(path: Path, count: int) -> list[Path]:
    """The file of one picture, or numbered ones for several, in a folder if that is given."""
    if count == 1:
        return [path]
    if path.is_dir():
        return [path / f"{i}.png" for i in range(count)]
    return [path.with_stem(f"{path.stem}-{i}") for i in range(count)]


def free(path: Path, *, force: bool, suffix: str) -> None:
    """Refuse to write a file that is there, or where none can be.

    Raises:
        ValueError: if the name has another suffix.
        OSError: if the file exists and ``force`` is not set, there is no such folder, or it may
            not be written to.
    """
    if path.suffix.lower() != suffix:
        raise ValueError(f"the output is a {suffix} file, not {path.name!r}")
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"cannot write {path}: no such folder, or a folder itself")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OSError(f"cannot write {path}: the folder may not be written to")
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{path} exists; add --force to replace it")


def different(*paths: Path | None) -> None:
    """Refuse one name for several outputs.

    Raises:
        ValueError: if two are the same file.
    """
    named = [path.resolve() for path in paths if path is not None]
    if twice := next((path for path in named if named.count(path) > 1), None):
        raise ValueError(f"two outputs would be the one file {twice}: give them two names")


def write_pictures(names: Sequence[Path], pictures: Sequence[Any], *, force: bool) -> list[Path]:
    """Write PNGs, all or none."""
    with outputs(*names, force=force) as made:
        for part, picture in zip(made.parts, pictures, strict=True):
            picture.save(part, format="PNG")
    return made.files
