"""Pictures in, pictures out, and nothing overwritten unasked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LOSSLESS = {"PNG", "BMP", "TIFF", "PPM"}


def read_picture(path: Path) -> tuple[Image.Image, list[str]]:
    """A picture as it is, and what speaks against it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with Image.open(path) as picture:
            kind = picture.format
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no picture that can be read ({error})") from error
    notes = []
    if kind not in LOSSLESS:
        notes.append(f"{kind} may be lossy: the values may not be those that the pipeline made")
    return picture, notes


def as_bytes(pictures: Sequence[Image.Image]) -> Tensor:
    """8-bit pictures as a tensor ``[B, C, H, W]``."""
    arrays = [np.array(p).reshape(p.height, p.width, -1) for p in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def flat(pictures: Any) -> list[Image.Image]:
    """All pictures that a pipeline returned, the frames of clips one after the other.

    Raises:
        ValueError: if they are no pictures.
    """
    if isinstance(pictures, Image.Image):
        return [pictures]
    if not isinstance(pictures, list):
        raise ValueError("the pipeline of this noise makes no pictures: use invlib in Python")
    return [picture for part in pictures for picture in flat(part)]


def names_for(path: Path, count: int) -> list[Path]:
    """The file of one picture, or numbered ones for several."""
    if count == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{i}") for i in range(count)]


def free(path: Path, *, force: bool, suffix: str) -> None:
    """Refuse to write a file that is there, or where none can be.

    Raises:
        ValueError: if the name has another suffix.
        OSError: if the file exists and ``force`` is not set, or there is no such folder.
    """
    if path.suffix.lower() != suffix:
        raise ValueError(f"the output is a {suffix} file, not {path.name!r}")
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"cannot write {path}: no such folder, or a folder itself")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; add --force to replace it")


def write_picture(path: Path, picture: Any) -> None:
    """Write a PNG, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        picture.save(temporary, format="PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
