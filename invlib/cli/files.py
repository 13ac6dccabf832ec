"""Pictures and clips in, pictures out, and nothing overwritten unasked."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from ..pipelines.images import lossy_note

ANIMATED = {"PNG", "GIF", "WEBP", "TIFF"}


def read_picture(path: Path) -> Image.Image:
    """A picture as it is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, an animated one, or damaged.
    """
    frames, _ = _read_file(path)
    if len(frames) > 1:
        raise ValueError(f"{path} has {len(frames)} frames; give one picture")
    return frames[0]


def read_pictures(path: Path) -> tuple[list[Image.Image], list[str]]:
    """A picture, or the frames of a clip, as they are; and what speaks against them.

    Args:
        path: a picture, an animated one, or a folder of frames, in the order of their names, the
            numbers in which count as such.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, a folder without one, or damaged.
    """
    if not path.is_dir():
        return _read_file(path)
    known = Image.registered_extensions()
    files = [f for f in path.iterdir() if f.suffix.lower() in known and not f.name.startswith(".")]
    if not files:
        raise ValueError(f"the folder {path} holds no pictures, so it is no clip")
    read = [_read_file(file) for file in sorted(files, key=_numbered)]
    frames = [frame for several, _ in read for frame in several]
    return frames, list(dict.fromkeys(note for _, notes in read for note in notes))


def _numbered(path: Path) -> list[tuple[int, str]]:
    """A key by which frame-2 comes before frame-10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _read_file(path: Path) -> tuple[list[Image.Image], list[str]]:
    """The frames of one file, the colours of a palette written out if there are several."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with Image.open(path) as picture:
            kind, note = picture.format, lossy_note(picture)
            each = ImageSequence.Iterator(picture) if kind in ANIMATED else [picture]
            frames = [frame.copy() for frame in each]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if path.suffix == ".safetensors":
            raise ValueError(f"{path} is a noise file or weights, no picture") from error
        raise ValueError(f"{path} is no picture that can be read ({error})") from error
    if len(frames) > 1:
        frames = [frame.convert("RGB") if frame.mode == "P" else frame for frame in frames]
    return frames, [note] if note else []


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
