"""What may have happened to a picture between its sampler and us, and how far it can be undone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .attacks import Attack, add_noise, blur, brightness, crop, jpeg


@dataclass(frozen=True)
class Passage:
    """An attack, and what puts the picture back into its place, if it was moved.

    Attributes:
        attack: of 8-bit pictures, ``[B, C, H, W]``.
        undo: of attacked ones.
    """

    attack: Attack
    undo: Attack = torch.clone


def resized(images: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Pictures of another height and width (bicubic), uint8 ``[B, C, H, W]``."""
    height, width = size
    return _each(images, lambda p: p.resize((width, height), Image.Resampling.BICUBIC))


def uncrop(images: Tensor, *, side: float) -> Tensor:
    """Put the enlarged middle of pictures back where it was; its edges fill the rest.

    Args:
        images: uint8 ``[B, C, H, W]``.
        side: part of each side that was kept.
    """
    height, width = images.shape[2:]
    inner = max(1, round(height * side)), max(1, round(width * side))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    padding = (left, width - inner[1] - left, top, height - inner[0] - top)
    small = resized(images, size=inner).double()
    return torch.nn.functional.pad(small, padding, mode="replicate").to(torch.uint8)


def screenshot(images: Tensor, *, scale: float = 1.3, quality: int = 90) -> Tensor:
    """Show pictures larger, write that as JPEG, and make it as small again.

    Args:
        images: uint8 ``[B, C, H, W]``.
        scale: of the sides on the screen.
        quality: of the JPEG file.
    """
    height, width = images.shape[2:]
    shown = resized(images, size=(round(scale * height), round(scale * width)))
    return resized(jpeg(shown, quality=quality), size=(height, width))


def cropped(side: float) -> Passage:
    """A crop of the middle that was enlarged to the old size."""
    return Passage(partial(crop, side=side), partial(uncrop, side=side))


PASSAGES: dict[str, Passage] = {
    "none": Passage(torch.clone),
    "JPEG 95": Passage(partial(jpeg, quality=95)),
    "JPEG 75": Passage(partial(jpeg, quality=75)),
    "JPEG 50": Passage(partial(jpeg, quality=50)),
    "blur 1": Passage(partial(blur, radius=1.0)),
    "noise 2 %": Passage(partial(add_noise, std=0.02)),
    "brightness 1.25": Passage(partial(brightness, factor=1.25)),
    "brightness 0.8": Passage(partial(brightness, factor=0.8)),
    "screenshot": Passage(screenshot),
    "crop 95 %": cropped(0.95),
    "crop 90 %": cropped(0.9),
    "crop 80 %": cropped(0.8),
}


def _each(images: Tensor, one: object) -> Tensor:
    made = []
    for pixels in images.permute(0, 2, 3, 1).cpu().numpy():
        single = pixels.shape[-1] == 1
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if single else pixels))
        changed = np.array(one(picture))  # type: ignore[operator]
        made.append(torch.from_numpy(changed).view(*changed.shape[:2], -1))
    return torch.stack(made).permute(0, 3, 1, 2).contiguous().to(images.device)
