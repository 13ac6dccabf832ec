"""Pictures in all the forms that pipelines return them, read without a change."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..autoencoder import Box

MODES = {1: "L", 3: "RGB"}


def as_box(image: Any, channels: int, device: Any) -> Box:
    """The box of one picture, or of a batch.

    Args:
        image: a PIL image, an array ``[H, W, C]`` or ``[B, H, W, C]``, a tensor ``[C, H, W]`` or
            ``[B, C, H, W]``, or a list of these. Values are 8-bit (uint8), or floating point
            from 0 to 1 and then taken as exact.
        channels: colour channels of the pipeline.
        device: where the box shall be.

    Raises:
        TypeError: if it is no picture, or its values are of another type.
        ValueError: if shape, colours or values do not fit.
    """
    if isinstance(image, list | tuple):
        if not image:
            raise ValueError("no images: the list is empty")
        parts = [_pixels(part, channels) for part in image]
        kinds = {(p.shape[1:], p.dtype) for p in parts}
        if len(kinds) > 1:
            raise ValueError("the images differ in size or type; invert them one by one")
        pixels = torch.cat(parts)
    else:
        pixels = _pixels(image, channels)
    if not len(pixels):
        raise ValueError("no images: the batch is empty")
    pixels = pixels.to(device)
    return Box.of(pixels if pixels.dtype == torch.uint8 else 2 * pixels.double() - 1)


def _pixels(image: Any, channels: int) -> Tensor:
    """One picture or a batch as a checked tensor ``[B, C, H, W]``."""
    mode = MODES.get(channels, "RGB")
    advice = f"convert it first, as PIL's image.convert({mode!r}) does"
    if hasattr(image, "getbands"):  # PIL
        if image.mode != mode:
            raise ValueError(f"the image has mode {image.mode}, not {mode}; {advice}")
        image = np.array(image).reshape(image.height, image.width, channels)
    if isinstance(image, np.ndarray):
        name, axis = f"array of shape {image.shape}", -1
        if image.dtype.kind not in "fu" or image.dtype == np.uint16:
            raise TypeError(f"pixels are uint8 or floating point, not {image.dtype}; {advice}")
        image = torch.from_numpy(np.ascontiguousarray(image))
    elif isinstance(image, Tensor):
        name, axis = f"tensor of shape {tuple(image.shape)}", -3
    else:
        kind = type(image).__name__
        raise TypeError(f"an image is a PIL image, an array or a tensor, not {kind}; open it first")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise TypeError(f"pixels are uint8 or floating point, not {image.dtype}; {advice}")
    if image.ndim not in (3, 4) or image.shape[axis] != channels:
        form = "[H, W, C] or [B, H, W, C]" if axis == -1 else "[C, H, W] or [B, C, H, W]"
        raise ValueError(f"an {name} is no picture {form} of {channels} channels; {advice}")
    if image.is_floating_point():
        if not torch.isfinite(image).all():
            raise ValueError("the image contains NaN or infinity")
        if image.numel() and (image.min() < 0 or image.max() > 1):
            raise ValueError(
                f"float pixels must lie in [0, 1], but these go from {image.min():.3g} to "
                f"{image.max():.3g}; rescale them, or give 8-bit ones as uint8"
            )
    image = image if image.ndim == 4 else image[None]
    return image if axis == -3 else image.permute(0, 3, 1, 2).contiguous()
