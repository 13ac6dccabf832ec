"""What happens to pictures on their way: attacks on 8-bit images, by Pillow where it has them."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

Attack = Callable[[Tensor], Tensor]


def jpeg(images: Tensor, *, quality: int) -> Tensor:
    """Write and read as JPEG.

    Args:
        images: uint8 ``[B, C, H, W]``, C = 1 or 3.
        quality: Pillow's, from 1 to 95.

    Raises:
        ValueError: if the images are no 8-bit pictures or the quality is out of range.
    """
    _within("quality", quality, 1, 95)

    def one(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _each(images, one)


def blur(images: Tensor, *, radius: float) -> Tensor:
    """Gaussian blur.

    Args:
        images: uint8 ``[B, C, H, W]``, C = 1 or 3.
        radius: standard deviation in pixels.

    Raises:
        ValueError: if the images are no 8-bit pictures or the radius is negative.
    """
    _within("radius", radius, 0, 1e3)
    return _each(images, lambda picture: picture.filter(ImageFilter.GaussianBlur(radius)))


def crop(images: Tensor, *, side: float) -> Tensor:
    """Keep the middle and enlarge it to the old size (bicubic).

    Args:
        images: uint8 ``[B, C, H, W]``, C = 1 or 3.
        side: part of each side that is kept, above 0 and up to 1.

    Raises:
        ValueError: if the images are no 8-bit pictures or the side is out of range.
    """
    _within("side", side, 1e-3, 1)

    def one(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        x, y = width * (1 - side) / 2, height * (1 - side) / 2
        box = (x, y, width - x, height - y)
        return picture.resize(picture.size, Image.Resampling.BICUBIC, box)

    return _each(images, one)


def blacken(images: Tensor, *, side: float) -> Tensor:
    """Keep the middle where it is and make the rest black: a crop that moves nothing.

    Args:
        images: uint8 ``[B, C, H, W]``, C = 1 or 3.
        side: part of each side that is kept, above 0 and up to 1.

    Raises:
        ValueError: if the images are no 8-bit pictures or the side is out of range.
    """
    _within("side", side, 1e-3, 1)
    _check(images)
    height, width = images.shape[2:]
    top, left = round(height * (1 - side) / 2), round(width * (1 - side) / 2)
    result = torch.zeros_like(images)
    middle = (..., slice(top, height - top), slice(left, width - left))
    result[middle] = images[middle]
    return result


def add_noise(images: Tensor, *, std: float, seed: int = 0) -> Tensor:
    """Add normal noise.

    Args:
        images: uint8 ``[B, C, H, W]``, C = 1 or 3.
        std: standard deviation as part of the range from black to white.
        seed: of the noise.

    Raises:
        ValueError: if the images are no 8-bit pictures or the deviation is negative.
    """
    _within("std", std, 0, 1e3)
    _check(images)
    generator = torch.Generator().manual_seed(seed)
    grain = torch.randn(images.shape, generator=generator, dtype=torch.float64).to(images.device)
    return (images + 255 * std * grain).round().clamp(0, 255).to(torch.uint8)


def brightness(images: Tensor, *, factor: float) -> Tensor:
    """Multiply all values.

    Args:
        images: uint8 ``[B, C, H, W]``, C = 1 or 3.
        factor: 0 makes black, 1 changes nothing.

    Raises:
        ValueError: if the images are no 8-bit pictures or the factor is negative.
    """
    _within("factor", factor, 0, 1e3)
    return _each(images, lambda picture: ImageEnhance.Brightness(picture).enhance(factor))


ATTACKS: dict[str, Attack] = {
    "none": torch.clone,
    "JPEG 90": partial(jpeg, quality=90),
    "JPEG 50": partial(jpeg, quality=50),
    "blur 0.5": partial(blur, radius=0.5),
    "blur 1": partial(blur, radius=1.0),
    "crop 90 %": partial(crop, side=0.9),
    "black border 10 %": partial(blacken, side=0.8),
    "noise 2 %": partial(add_noise, std=0.02),
    "noise 5 %": partial(add_noise, std=0.05),
    "brightness 1.25": partial(brightness, factor=1.25),
}


def _each(images: Tensor, one: Callable[[Image.Image], Image.Image]) -> Tensor:
    _check(images)
    mode, results = "L" if images.shape[1] == 1 else "RGB", []
    for pixels in images.permute(0, 2, 3, 1).cpu().numpy():
        changed = one(
            Image.fromarray(np.ascontiguousarray(pixels[..., 0] if mode == "L" else pixels))
        )
        results.append(torch.from_numpy(np.array(changed)).view(*pixels.shape))
    if not results:
        return images.clone()
    return torch.stack(results).permute(0, 3, 1, 2).contiguous().to(images.device)


def _check(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images must be uint8 [B, C, H, W] with C = 1 or 3, "
            f"got {images.dtype} {list(images.shape)}"
        )


def _within(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise ValueError(f"{name} must be from {lowest:g} to {highest:g}, got {value:g}")
