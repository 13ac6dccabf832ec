"""Synthetic star fields: point sources of very different brightness under a blurring telescope."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

SIDE = 32
SKY = 30.0  # electrons a pixel
STARS = 12.0  # expected number in a field
FLUX = (1e2, 1e6)  # electrons of the faintest and the brightest star
SLOPE = 1.3  # power law of the fluxes, density F**-SLOPE
BETA = 2.5  # exponent of the point-spread function
WIDTH = (1.8, 2.8)  # its full width at half maximum, in pixels, from field to field
MEAN, SPREAD = 1.78, 0.5  # of log10 of a pixel, so that fields have about zero mean and unit size


def star_fields(count: int, generator: Generator) -> Tensor:
    r"""Star fields on a logarithmic scale, standardised.

    .. math:: s(u) = \mathrm{sky} + \sum_k F_k\,\frac{\beta - 1}{\pi a^2}
              \Bigl(1 + \frac{|u - u_k|^2}{a^2}\Bigr)^{-\beta}, \quad
              x = \frac{\log_{10}(s + \sqrt{s}\,\xi) - \mathrm{mean}}{\mathrm{spread}}

    Positions are uniform, fluxes follow a power law over four decades, and :math:`\xi` is the
    photon noise: 18 % on the empty sky, a tenth of a per cent on the brightest pixels.

    Args:
        count: number of fields.
        generator: source of all random numbers.

    Returns:
        Float32 ``[count, 1, 32, 32]``.

    Source: Moffat, Astronomy and Astrophysics 3, 455 (1969), for the point-spread function.
    """
    number = torch.poisson(torch.full((count, 1), STARS), generator=generator)
    most = int(number.max().item())
    there = torch.arange(most) < number
    flux = _power_law(torch.rand(count, most, generator=generator)) * there
    x, y = (SIDE * torch.rand(2, count, most, 1, generator=generator)).unbind()
    width = WIDTH[0] + (WIDTH[1] - WIDTH[0]) * torch.rand(count, 1, 1, 1, generator=generator)
    a = width / (2 * math.sqrt(2 ** (1 / BETA) - 1))
    u = torch.arange(SIDE) + 0.5
    square = (u - y)[:, :, :, None] ** 2 + (u - x)[:, :, None, :] ** 2
    spot = (BETA - 1) / (math.pi * a**2) * (1 + square / a**2) ** -BETA
    signal = SKY + torch.einsum("nk,nkij->nij", flux, spot)
    noise = torch.randn(signal.shape, generator=generator)
    counts = (signal + signal.sqrt() * noise).clamp(min=1.0)
    return ((counts.log10() - MEAN) / SPREAD)[:, None]


def _power_law(u: Tensor) -> Tensor:
    """Fluxes from uniform numbers, by the inverse of the distribution function."""
    low, high = (f ** (1 - SLOPE) for f in FLUX)
    return (low + u * (high - low)) ** (1 / (1 - SLOPE))
