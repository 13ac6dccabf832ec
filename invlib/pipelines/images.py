"""Pictures and clips in all the forms that pipelines return them, read without a change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..autoencoder import Box
from ..devices import state_device

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Pictures:
    """Checked pixels, uint8 or floating point in [0, 1].

    Attributes:
        pixels: ``[B, C, H, W]``, or ``[B, F, C, H, W]`` where the pictures may be clips.
    """

    pixels: Tensor

    @classmethod
    def of(cls, image: Any) -> Pictures:
        """Pixels of one picture or clip, or of a batch.

        Args:
            image: a PIL image, an array ``[..., H, W, C]``, a tensor ``[..., C, H, W]``, or a
                list of these. Values are 8-bit (uint8), or floating point from 0 to 1 and then
                taken as exact.

        Raises:
            TypeError: if it is no picture, or its values are of another type.
            ValueError: if shape or values do not fit.
        """
        pixels = _pixels(image)
        if pixels.ndim == 3:
            pixels = pixels[None]
        if pixels.ndim not in (4, 5):
            raise ValueError(
                f"an image of shape {tuple(pixels.shape)} is neither pictures [B, C, H, W] nor "
                "clips [B, F, C, H, W]"
            )
        if not pixels.numel():
            raise ValueError("no images: the batch is empty")
        return cls(pixels)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.pixels.shape[-2]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.pixels.shape[-1]

    def box(self, shape: tuple[int, ...], device: Any, *, frames_first: bool = False) -> Box:
        """The box of these pictures, in the layout of the decoder's output.

        Args:
            shape: shape of what the pipeline's decoder makes: ``[B, C, H, W]``, or
                ``[B, C, F, H, W]`` or ``[B, F, C, H, W]`` for clips.
            device: where the box shall be; on the CPU, if that has no float64.
            frames_first: whether as many frames as colours are ``[B, F, C, H, W]``, where the
                shape does not tell.

        Raises:
            ValueError: if the pictures are not what the call makes.
        """
        pixels = self.pixels
        if len(shape) == 5:
            single = pixels.ndim == 4 and shape[0] == len(pixels) > 1  # clips of one frame
            if pixels.ndim == 4:
                pixels = pixels[:, None] if single else pixels[None]
            frames, colours = pixels.shape[1:3]
            made = shape[1] + shape[2] - colours
            if colours in shape[1:3] and frames != made:
                raise ValueError(
                    f"the call makes clips of {made} frames, but {frames} were given: give all "
                    "frames of the clip, and their number in the call as it made them"
                )
            told = shape[1] != shape[2]
            if pixels.shape[1:3] != shape[1:3] if told else not frames_first:
                pixels = pixels.transpose(1, 2)
        elif pixels.ndim == 5:
            pixels = pixels.flatten(0, 1)
        if tuple(pixels.shape) != tuple(shape):
            raise ValueError(_misfit(tuple(pixels.shape), tuple(shape)))
        pixels = pixels.to(state_device(device))
        return Box.of(pixels if pixels.dtype == torch.uint8 else 2 * pixels.double() - 1)


LOSSLESS = {"PNG", "BMP", "TIFF", "PPM"}


def lossy_note(image: Any) -> str:
    """What speaks against a PIL image, or the first of several, as it was opened; or nothing."""
    if isinstance(image, list | tuple):
        return next((note for part in image if (note := lossy_note(part))), "")
    kind = getattr(image, "format", None) if hasattr(image, "getbands") else None
    if kind is None or kind in LOSSLESS:
        return ""
    return f"{kind} may be lossy: the values may not be those that the pipeline made"


MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP"}


def picture_kind(path: Path) -> str:
    """The format of a file that begins as a picture does; nothing if it does not."""
    with path.open("rb") as file:
        begin = file.read(8)
    return next((kind for magic, kind in MAGIC.items() if begin.startswith(magic)), "")


def _misfit(given: tuple[int, ...], made: tuple[int, ...]) -> str:
    """What to do about pictures of another shape than the call makes."""
    if given[1] != made[1] and made[1] not in MODES:
        return (
            f"the image has {given[1]} colour channels, but this pipeline decodes {made[1]} in one "
            "tensor, such as colour and depth together: a picture is a part of them only, and does "
            "not tell the latents; take these from a callback of the last step, and invert latents"
        )
    if given[1] != made[1]:
        return (
            f"the image has {given[1]} colour channels, the pipeline {made[1]}; convert it first, "
            f"as PIL's image.convert({MODES[made[1]]!r}) does"
        )
    if given[-2:] != made[-2:]:
        return (
            f"the image is {given[-2]} x {given[-1]} (height x width), but the call makes "
            f"{made[-2]} x {made[-1]}; give the image as the pipeline made it"
        )
    return (
        f"images of shape {given} were given, but the call makes {made}: give one prompt for each "
        "image, or num_images_per_prompt (batch_size), as in the call that made them"
    )


def _pixels(image: Any) -> Tensor:
    """Pixels ``[..., C, H, W]`` of anything that is a picture, or a list of such."""
    if isinstance(image, list | tuple):
        if not image:
            raise ValueError("no images: the list is empty")
        parts = [_pixels(part) for part in image]
        if len({(p.shape, p.dtype) for p in parts}) > 1:
            raise ValueError("the images differ in size or type; invert them one by one")
        return (
            torch.cat(parts)
            if parts[0].ndim == 4 and parts[0].shape[0] == 1
            else torch.stack(parts)
        )
    if hasattr(image, "getbands"):  # PIL
        if image.mode not in MODES.values():
            raise ValueError(
                f"the image has mode {image.mode}; convert it first, as PIL's "
                "image.convert('RGB') does"
            )
        array = np.array(image).reshape(image.height, image.width, -1)
        return torch.from_numpy(array).permute(2, 0, 1).contiguous()
    if isinstance(image, np.ndarray):
        if image.dtype.kind not in "fu" or image.dtype == np.uint16:
            raise TypeError(
                f"pixels are uint8 or floating point, not {image.dtype}; convert it first, as "
                "PIL's image.convert('RGB') does"
            )
        if image.ndim < 3 or image.shape[-1] > 4:
            raise ValueError(f"an array of shape {image.shape} is no picture [..., H, W, C]")
        tensor = torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, -3)
    elif isinstance(image, Tensor):
        tensor = image
    else:
        kind = type(image).__name__
        raise TypeError(f"an image is a PIL image, an array or a tensor, not {kind}; open it first")
    return _checked(tensor)


def _checked(image: Tensor) -> Tensor:
    """A tensor of pixels, or what is wrong with it."""
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise TypeError(f"pixels are uint8 or floating point, not {image.dtype}; convert it first")
    if image.ndim < 3 or image.shape[-3] > 4:
        raise ValueError(f"a tensor of shape {tuple(image.shape)} is no picture [..., C, H, W]")
    if image.is_floating_point():
        if not torch.isfinite(image).all():
            raise ValueError("the image contains NaN or infinity")
        if image.numel() and (image.min() < 0 or image.max() > 1):
            raise ValueError(
                f"float pixels must lie in [0, 1], but these go from {image.min():.3g} to "
                f"{image.max():.3g}; rescale them, or give 8-bit ones as uint8"
            )
    return image
