r"""No seam: latents whose picture meets the kept pixels, and a correction that fades inside.

**The decoder moves what was kept.** Latents outside the mask may be the original's bit for bit,
and yet a decoder sees neighbours: around a changed latent it paints other pixels. So the latents
are solved again, and again for a box (see :class:`invlib.autoencoder.Box`): outside the mask that
of the given 8-bit picture, inside that of the edited one, bent at the border so that it meets what
was kept. What the decoder still misses outside, where the picture is none of its own, is carried
inside the mask and fades there. Then outside nothing is left but the values that were given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..autoencoder import Autoencoder, Box, quasi_newton
from .masks import dilate

HALF = 1 / 255  # half a step of 8 bits, in [-1, 1]


@dataclass(frozen=True)
class Joined:
    """Pictures that meet what was kept.

    Attributes:
        latents: the latents that were solved again, ``[B, ...]``.
        picture: to be shown inside the mask, in [-1, 1] but not clamped, ``[B, C, H, W]``.
        border: root mean square, in levels of 8 bits, by which the decoder misses the kept pixels
            next to the mask, before anything fades, ``[B]``.
        evaluations: evaluations of the decoder that each picture paid for, ``[B]``.
    """

    latents: Tensor
    picture: Tensor
    border: Tensor
    evaluations: Tensor


def joined_to(
    autoencoder: Autoencoder,
    box: Box,
    mask: Tensor,
    latents: Tensor,
    *,
    feather: int = 4,
    iterations: int = 40,
) -> Joined:
    r"""Latents of an edit, solved again so that their picture meets the pixels around the mask.

    .. math:: \min_z\ \mathrm{dist}\bigl(D(z), B\bigr)^2, \qquad B_p = \begin{cases}
              \text{the box of } x^*_p & M_p = 0 \\
              D(z_{edit})_p + r_p \pm 1/255 & M_p = 1 \end{cases}

    with r what the edit misses outside, carried inside and faded by :func:`faded`. A band along
    the border in which the decoder is free instead makes smaller steps, too, but errors inside of
    up to twice the size.

    Args:
        autoencoder: the autoencoder.
        box: the given pictures.
        mask: the pixels that may change, bool ``[B, 1, H, W]``.
        latents: edited latents, ``[B, ...]``, the start.
        feather: pixels over which the correction fades; 0 for none.
        iterations: L-BFGS steps.

    Raises:
        ValueError: if ``feather`` is negative.
    """
    if feather < 0:
        raise ValueError(f"feather is a number of pixels, at least 0, got {feather}")
    painted = autoencoder.decode(latents)
    wanted = painted + faded(-box.excess(painted), mask, feather)
    goal = Box(
        torch.where(mask, wanted, box.center),
        torch.where(mask, wanted - HALF, box.lower),
        torch.where(mask, wanted + HALF, box.upper),
    )
    found = quasi_newton(autoencoder, goal, start=latents, iterations=iterations)
    shown = autoencoder.decode(found.latents)
    missed = box.excess(shown)
    return Joined(
        found.latents,
        shown + faded(-missed, mask, feather),
        _next_to(missed, mask),
        found.evaluations + 2,
    )


def depth(mask: Tensor, most: int) -> Tensor:
    """How many pixels deep in a mask each of its pixels lies, from 1 at the border up to ``most``.

    Args:
        mask: bool ``[B, 1, H, W]``; the edge of the picture is no border.
        most: where to stop counting.

    Returns:
        float64, 0 outside the mask.
    """
    outside = ~mask
    return sum((1 - dilate(outside.double(), k) for k in range(1, most)), start=mask.double())


def faded(residual: Tensor, mask: Tensor, feather: int) -> Tensor:
    r"""What is missed outside a mask, carried inside and faded over some pixels.

    .. math:: f_p\,\frac{\sum_{q \notin M} G(p - q)\,r_q}{\sum_{q \notin M} G(p - q)}, \qquad
              f_p = \max\Bigl(0,\ 1 - \frac{\text{depth}_p - 1}{\text{feather}}\Bigr)

    Args:
        residual: r, ``[B, C, H, W]``; looked at outside the mask only.
        mask: bool ``[B, 1, H, W]``.
        feather: pixels; the Gaussian G has a fourth of it as its standard deviation.

    Returns:
        The correction inside the mask; 0 outside.
    """
    if feather == 0:
        return torch.zeros_like(residual)
    outside = (~mask).to(residual)
    weight = _blurred(outside, feather / 4)
    carried = _blurred(residual * outside, feather / 4) / weight.clamp(min=1e-12)
    fade = (1 - (depth(mask, feather + 1) - 1) / feather).clamp(0, 1)
    return torch.where(mask & (weight > 1e-9), fade * carried, 0.0)


def across(picture: Tensor, mask: Tensor) -> Tensor:
    """Mean size of the step from a pixel outside a mask to its neighbour inside, ``[B]``.

    Args:
        picture: ``[B, C, H, W]``.
        mask: bool ``[B, 1, H, W]``.

    Raises:
        ValueError: if a mask has no border.
    """
    total = count = torch.zeros(len(picture), dtype=torch.float64, device=picture.device)
    for axis in (2, 3):
        size = picture.shape[axis] - 1
        crosses = mask.narrow(axis, 0, size) != mask.narrow(axis, 1, size)
        step = (picture.double().diff(dim=axis)).abs().mean(1, keepdim=True)
        total = total + (step * crosses).flatten(1).sum(1)
        count = count + crosses.flatten(1).sum(1)
    if not (count > 0).all():
        raise ValueError("a mask has no border: it is empty, or all of the picture")
    return total / count


def _next_to(missed: Tensor, mask: Tensor) -> Tensor:
    """Root mean square of values just outside a mask, in levels, ``[B]``."""
    ring = (dilate(mask.double(), 1) > 0) & ~mask
    squares = (missed.square() * ring).flatten(1).sum(1)
    count = (ring.flatten(1).sum(1) * missed.shape[1]).clamp(min=1)
    return (squares / count).sqrt() / (2 * HALF)


def _blurred(values: Tensor, width: float) -> Tensor:
    """Convolution with a Gaussian of a standard deviation in pixels; nothing beyond the edges."""
    reach = math.ceil(3 * width)
    place = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
    bell = (-place.square() / (2 * width**2)).exp()
    bell = bell / bell.sum()
    many = values.shape[1]
    down = bell.view(1, 1, -1, 1).expand(many, -1, -1, -1)
    values = functional.conv2d(values, down, padding=(reach, 0), groups=many)
    return functional.conv2d(values, down.transpose(2, 3), padding=(0, reach), groups=many)
