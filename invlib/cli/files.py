"""Pictures and clips, whoever made the files; what is written is in :mod:`.outputs`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from ..pipelines.images import lossy_note

ANIMATED = {"PNG", "GIF", "WEBP", "TIFF"}
# What is read; not EPS, for which Pillow starts Ghostscript.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MOST = 2**26  # pixels of all frames together
LEAST = 2**12  # pixels that a frame counts as, however small: it costs more than its values
ORIENTATION = 0x0112  # of EXIF


def read_picture(path: Path) -> Image.Image:
    """A picture as it is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, an animated one, too large, turned by EXIF, or damaged.
    """
    return read_one(path)[0]


def read_one(path: Path) -> tuple[Image.Image, list[str]]:
    """A picture as :func:`read_picture` reads it, and what speaks against it."""
    frames, notes = _read_file(path)
    if len(frames) > 1:
        raise ValueError(f"{path} has {len(frames)} frames; give one picture")
    return frames[0], notes


def read_pictures(path: Path) -> tuple[list[Image.Image], list[str]]:
    """A picture, or the frames of a clip, as they are; and what speaks against them.

    Args:
        path: a picture, an animated one, or a folder of frames, in the order of their names, the
            numbers in which count as such.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, a folder without one, too large, turned by EXIF, or
            damaged.
    """
    if not path.is_dir():
        return _read_file(path)
    known = {end for end, kind in Image.registered_extensions().items() if kind in FORMATS}
    files = [f for f in path.iterdir() if f.suffix.lower() in known and not f.name.startswith(".")]
    if not files:
        raise ValueError(f"the folder {path} holds no pictures, so it is no clip")
    if len(files) > MOST // LEAST:
        raise ValueError(f"the folder {path} holds {len(files)} pictures, which is too much")
    read = [_read_file(file, len(files)) for file in sorted(files, key=_numbered)]
    frames = [frame for several, _ in read for frame in several]
    return frames, list(dict.fromkeys(note for _, notes in read for note in notes))


def _numbered(path: Path) -> list[tuple[int, str]]:
    """A key by which frame-2 comes before frame-10."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", path.name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts]


def _read_file(path: Path, among: int = 1) -> tuple[list[Image.Image], list[str]]:
    """The frames of one file, of several, the colours of a palette written out if they move."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    kinds = [kind for kind in FORMATS if kind in Image.registered_extensions().values()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is said of it stands in the sentence below
            with Image.open(path, formats=kinds) as picture:
                turned = picture.getexif().get(ORIENTATION, 1)  # Pillow forgets that of a TIFF
                frames, note = [*_frames(picture, MOST // among)], lossy_note(picture)
    except TooLarge as error:
        raise ValueError(f"{path} {error}") from error
    except Exception as error:  # Pillow's readers raise anything on files that are made for it
        if path.suffix == ".safetensors":
            raise ValueError(f"{path} is a noise file or weights, no picture") from error
        raise ValueError(f"{path} is no picture that can be read ({error})") from error
    if turned != 1:
        raise ValueError(
            f"{path} is stored turned or mirrored (its EXIF orientation is {turned}), which no "
            "pipeline does: save it upright with an image editor"
        )
    if len(frames) > 1:
        frames = [frame.convert("RGB") if frame.mode == "P" else frame for frame in frames]
    return frames, [note] if note else []


class TooLarge(ValueError):  # noqa: N818 - it names the fact
    """A picture has more pixels than are read."""


def _frames(picture: Image.Image, most: int) -> Iterator[Image.Image]:
    """The frames of an open file, as long as they are not too much, which is known before."""
    total = 0
    each = ImageSequence.Iterator(picture) if picture.format in ANIMATED else [picture]
    for frame in each:
        total += max(frame.width * frame.height, LEAST)
        if total > most:
            raise TooLarge(f"has more than {most / 1e6:.3g} million pixels, which is too much")
        yield frame.copy()


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
