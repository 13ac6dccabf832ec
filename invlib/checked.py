"""Files that come with the package, checked against their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from .whole import write_text

MANIFEST = "SHA256SUMS"


def check(folder: Path, prefix: str) -> str:
    """Check the files of a folder's manifest whose paths begin with ``prefix``.

    Returns:
        The hash of all of them together, 12 hexadecimal digits.

    Raises:
        FileNotFoundError: if the manifest or a file is missing.
        OSError: if a file is not the one that was published, or the manifest does not name it.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise FileNotFoundError(f"no weights in {folder.name}; run 'make train' to make them")
    lines = [line.partition("  ") for line in manifest.read_text().splitlines()]
    wanted = {path: digest for digest, _, path in lines if path.startswith(prefix)}
    here = {f.relative_to(folder).as_posix() for f in folder.rglob("[!.]*") if f.is_file()}
    if not wanted or (unnamed := {p for p in here if p.startswith(prefix)} - {*wanted}):
        told = f"does not name {min(unnamed)}" if wanted else f"names nothing of {prefix}"
        raise OSError(f"the manifest {MANIFEST} of weights {told}; install invlib again")
    for path, digest in wanted.items():
        file = folder / path
        if not file.exists():
            raise FileNotFoundError(f"the weights file {path} is missing; install invlib again")
        if _digest(file) != digest:
            raise OSError(f"the weights file {path} is damaged (SHA-256 differs); install again")
    return hashlib.sha256("".join(sorted(wanted.values())).encode()).hexdigest()[:12]


def write_sums(folder: Path, files: Iterable[Path]) -> None:
    """Write the manifest of a folder: the SHA-256 of each of the files."""
    lines = [f"{_digest(f)}  {f.relative_to(folder).as_posix()}" for f in sorted(files)]
    write_text(folder / MANIFEST, "\n".join(lines) + "\n")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
