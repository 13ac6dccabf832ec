"""How much of a picture comes back: value by value, in 8 bits."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .images import MODES, Pictures


@dataclass(frozen=True)
class Comparison:
    """Pictures that were made again, beside those that were given, each frame of a clip by itself.

    Attributes:
        equal: share of equal 8-bit values of each picture, ``[N]``; NaN if there is a ``reason``.
        gap: largest difference of two values, in levels from 0 to 255, ``[N]``.
        rms: root of the mean squared difference, in levels, ``[N]``; what rounding alone makes is
            below one.
        values: number of values of a picture.
        reason: why the pictures cannot be compared value by value; empty if they can.
    """

    equal: Tensor
    gap: Tensor
    rms: Tensor
    values: int
    reason: str = ""

    @property
    def same(self) -> bool:
        """Whether all values of all pictures are equal."""
        return not self.reason and bool((self.equal == 1).all())

    @property
    def share(self) -> float:
        """Share of equal values of all pictures together."""
        return float(self.equal.mean())

    def __len__(self) -> int:
        return len(self.equal)

    def __str__(self) -> str:
        if self.reason:
            return f"not compared: {self.reason}"
        names = (
            ["the picture"] if len(self) == 1 else [f"picture {k + 1}" for k in range(len(self))]
        )
        return "\n".join(
            f"{self.said(k)} of {name} come back{self.off(k)}" for k, name in enumerate(names)
        )

    def said(self, *rows: int) -> str:
        """How many values of some pictures, or of all, are equal."""
        picked = self.equal[list(rows)] if rows else self.equal
        number = self.values * len(picked)
        return f"{percent(float(picked.mean()))} of the {number} values"

    def off(self, *rows: int) -> str:
        """By how much the other values of some pictures, or of all, are off; nothing if none is."""
        gap = int((self.gap[list(rows)] if rows else self.gap).max())
        return f", the others up to {gap} level{'s' * (gap > 1)} off" if gap else ""


def percent(share: float) -> str:
    """A share in words: ``all`` and ``none`` only if it is."""
    if share in (0, 1):
        return "all" if share else "none"
    shown = f"{share:.1%}" if 0.001 <= share < 0.999 else f"{share:.2%}"
    return {"100.00%": "more than 99.99%", "0.00%": "less than 0.01%"}.get(shown, shown)


def compare(given: Any, made: Any) -> Comparison:
    """Compare pictures value by value; floating-point ones are rounded to 8 bits first.

    Args:
        given: pictures in any form that :func:`~invlib.pipelines.invert.invert_image` takes.
        made: pictures likewise, which a pipeline made.

    Raises:
        TypeError, ValueError: if the given ones are no pictures.
    """
    mode = _foreign_mode(given)
    ours = eight_bits(Pictures.of(made).pixels)
    theirs = None if mode else eight_bits(Pictures.of(given).pixels)
    reason = _difference(theirs, ours, mode)
    if reason or theirs is None:
        nothing = torch.full((len(ours),), torch.nan, dtype=torch.float64)
        return Comparison(nothing, nothing, nothing, ours[0].numel(), reason)
    off = (theirs.int() - ours.int()).abs().flatten(1).double()
    rms = off.square().mean(1).sqrt()
    return Comparison((off == 0).double().mean(1), off.amax(1), rms, ours[0].numel())


def check_pictures(given: Any) -> None:
    """Refuse what is no picture; one of another mode is one.

    Raises:
        TypeError, ValueError: if it is none.
    """
    if not _foreign_mode(given):
        Pictures.of(given)


def eight_bits(pixels: Tensor) -> Tensor:
    """Pictures and frames one after the other, uint8 ``[N, C, H, W]``, on the CPU."""
    pixels = pixels.flatten(0, -4).cpu()
    return pixels if pixels.dtype == torch.uint8 else (255 * pixels.double()).round().byte()


def fingerprint(pixels: Tensor) -> tuple[str, ...]:
    """SHA-256 of each 8-bit picture ``[B, C, H, W]``, its size included."""
    size = repr(tuple(pixels.shape[1:])).encode()
    return tuple(
        hashlib.sha256(size + p.cpu().contiguous().numpy().tobytes()).hexdigest() for p in pixels
    )


def warn_if_others(made: Any, known: tuple[str, ...]) -> None:
    """Warn where pictures that a noise made once are not the ones that it makes now.

    Args:
        made: what a pipeline made.
        known: the :func:`fingerprint` of what it made.
    """
    if fingerprint(eight_bits(Pictures.of(made).pixels)) != known:
        warnings.warn(
            "these are not the pictures that were inverted, which this noise made value by value "
            "then: the device, the versions of PyTorch or diffusers, or what is set beside the "
            "weights (tiling, slicing or attention) is another; a noise file's certify(pipe, "
            "pictures) says by how much they differ",
            stacklevel=3,
        )


def _foreign_mode(given: Any) -> str:
    """The mode of the first of some PIL images that is none of a pipeline's; else nothing."""
    if isinstance(given, list | tuple):
        return next((mode for part in given if (mode := _foreign_mode(part))), "")
    return given.mode if hasattr(given, "getbands") and given.mode not in MODES.values() else ""


def _difference(given: Tensor | None, made: Tensor, mode: str) -> str:
    """Why pictures cannot be compared, or nothing."""
    made_mode = MODES[made.shape[1]]
    if given is not None and given.shape[1:] != made.shape[1:]:
        mode = MODES[given.shape[1]] if given.shape[1] != made.shape[1] else ""
        if not mode:
            (h, w), (height, width) = given.shape[-2:], made.shape[-2:]
            return (
                f"the picture is {w} x {h} (width x height), but the noise makes {width} x {height}"
            )
    elif given is not None:
        count, number = len(given), len(made)
        return "" if count == number else f"{count} pictures, but the noise makes {number}"
    return f"the picture has mode {mode}, but the noise makes {made_mode}"
