"""An 8-bit image or clip is a box: all the pictures that round to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..devices import lifted, state_device

ROUNDING = (2 / 255) ** 2 / 12  # variance of the rounding error of an 8-bit value in [-1, 1]


@dataclass(frozen=True)
class Box:
    r"""The set of decoder outputs that show as a given image.

    A pipeline rounds and clamps, :math:`k = \mathrm{round}(255\,(x/2 + 1/2))` between 0 and 255,
    so every 8-bit value k only says

    .. math:: \tfrac{2k - 1}{255} - 1 \;\le\; x \;\le\; \tfrac{2k + 1}{255} - 1,

    with nothing below 0 and nothing above 255. A float image is a box without extent. Clips
    ``[B, C, F, H, W]`` are images with one more axis.

    Attributes:
        center: the image in [-1, 1], float64 ``[B, C, ...]``.
        lower: lower bounds, -inf where the value is 0.
        upper: upper bounds, +inf where the value is 255.
    """

    center: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def of(cls, image: Tensor) -> Box:
        """The box of 8-bit images (uint8), or of float images in [-1, 1], ``[B, C, H, W]``.

        Args:
            image: images, or clips ``[B, C, F, H, W]``.

        Raises:
            ValueError: if the shape or the type is wrong, or a float image is not finite.
        """
        if image.ndim < 4:
            raise ValueError(f"images must be a batch [B, C, H, W], got {tuple(image.shape)}")
        image = image.to(state_device(image.device))
        if image.dtype == torch.uint8:
            center = image.double() * 2 / 255 - 1
            lower = torch.where(image == 0, -torch.inf, center - 1 / 255)
            return cls(center, lower, torch.where(image == 255, torch.inf, center + 1 / 255))
        if not image.is_floating_point():
            raise ValueError(f"images must be uint8 or floating point, got {image.dtype}")
        return cls.point(image)

    @classmethod
    def point(cls, values: Tensor) -> Box:
        """The box without extent around floating-point values ``[B, C, ...]``, such as sound.

        Raises:
            ValueError: if a value is not finite.
        """
        if not torch.isfinite(values).all():
            raise ValueError("the image contains NaN or infinity")
        center = lifted(values)
        return cls(center, center, center)

    def __len__(self) -> int:
        return len(self.center)

    def rows(self, index: Tensor) -> Box:
        """The boxes of some of the images."""
        return Box(self.center[index], self.lower[index], self.upper[index])

    def excess(self, x: Tensor, *, margin: float = 0.0) -> Tensor:
        """How far pictures ``x`` stick out: ``x`` minus the nearest picture in the box.

        Args:
            x: pictures, ``[B, C, ...]``.
            margin: part of the half width, from 0 to 1, by which the box is made smaller; at 1
                only its centre is left, and the sides at black and white stay open.

        Raises:
            ValueError: if the pictures have another shape than the images.
        """
        self._check(x)
        lower = self.lower + margin * (self.center - self.lower).nan_to_num(posinf=0.0)
        upper = self.upper - margin * (self.upper - self.center).nan_to_num(posinf=0.0)
        return x - torch.minimum(torch.maximum(x, lower), upper)

    def difference(self, x: Tensor) -> Tensor:
        """Pictures ``x`` minus the images.

        Raises:
            ValueError: if the pictures have another shape than the images.
        """
        self._check(x)
        return x - self.center

    def _check(self, x: Tensor) -> None:
        if x.shape != self.center.shape:
            raise ValueError(f"shapes differ: {tuple(x.shape)} and {tuple(self.center.shape)}")

    def share_inside(self, x: Tensor) -> Tensor:
        """Share of values of each picture that lie in the box (round to the image), ``[B]``."""
        inside = (x >= self.lower) & (x <= self.upper)
        return inside.flatten(1).double().mean(1)


def to_bytes(x: Tensor) -> Tensor:
    """The 8-bit images that a diffusers pipeline makes of decoder outputs, uint8."""
    shown = (x / 2 + 0.5).clamp(0, 1).float()  # the pipeline rescales in the dtype of its decoder
    return (shown * 255).round().to(torch.uint8)
