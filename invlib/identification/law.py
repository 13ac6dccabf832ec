"""Is this the noise that a pipeline draws? A test with its known law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

EDGES = (0.0, 0.125, 0.25, 0.5, math.inf)  # of the frequency bands, 1 is the highest along an axis
PARTS = 4  # of every axis
CHANNELS = 16  # more are looked at together
LEAST = 8  # values of a group
LONG = 512  # longer axes are transformed by FFT, of which no matrix has to be kept
DRAWS = 400  # of noise, to know the law


@dataclass(frozen=True)
class Surprise:
    r"""How unlike noise something is.

    Attributes:
        nats: by how much independent normal values whose variance depends on frequency and place
            explain it better than white noise, ``[B]``; see :func:`excess`.
        p: probability that drawn noise comes as far, ``[B]``.
        norm: :math:`\|z\|^2/D`, ``[B]``.
    """

    nats: Tensor
    p: Tensor
    norm: Tensor


def surprise(noise: Tensor) -> Surprise:
    """Compare noises ``[B, ...]`` with N(0, I); the law of the test is drawn once for each shape.

    Example:
        >>> import torch
        >>> noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> surprise(noise).p > 0.01, surprise(noise.cumsum(-1) / 3).p < 1e-6
        (tensor([True]), tensor([True]))
    """
    noise = noise.cpu()
    shape, scale = _law(tuple(noise.shape[1:]))
    nats = excess(noise)
    p = torch.special.gammaincc(torch.full_like(nats, shape), nats / scale)
    return Surprise(nats, p.nan_to_num(0.0), noise.double().flatten(1).square().mean(1))


def excess(noise: Tensor) -> Tensor:
    r"""By how much groups of their own variances explain noises better than variance 1, in nats.

    .. math:: \sum_g \frac{n_g}{2} (v_g - 1 - \ln v_g)

    with the mean square :math:`v_g` of the :math:`n_g` values of a group. The groups are bands of
    frequency of every channel, by the cosine transform of the last two axes, and parts of these
    axes. Noises of three axes, such as packed tokens or sounds, are one channel. A norm that is too
    large or too small shows in all of them.

    Args:
        noise: ``[B, ...]``.

    Returns:
        float64 ``[B]``; infinite where the noise is not finite.
    """
    z = noise.cpu().double()
    z = z.flatten(1, -3) if z.ndim >= 4 else z.reshape(len(z), 1, -1, z.shape[-1])
    height, width = z.shape[-2:]
    waves = cosines(height) @ z if height <= LONG else fast_cosines(z.mT).mT
    waves = waves @ cosines(width).T if width <= LONG else fast_cosines(waves)
    bands, places = groups(height, width)
    channels = z.shape[1]
    energy, waves = z.square().mean(1, keepdim=True), waves.square()
    if channels > CHANNELS:
        found = _excess(waves.mean(1, keepdim=True), bands, channels)
    else:
        found = _excess(waves, bands, 1)
    found = found + _excess(energy, places, channels)
    return found.nan_to_num(math.inf, posinf=math.inf)


@cache
def groups(height: int, width: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The bands of frequency and the parts of a plane: indices of their values in ``[H * W]``."""
    high = [torch.arange(n, dtype=torch.float64) / n for n in (height, width)]
    radius = torch.maximum(high[0][:, None], high[1][None])
    bands = torch.bucketize(radius, torch.tensor(EDGES[1:], dtype=torch.float64), right=True)
    rows, columns = (torch.arange(n) * PARTS // n for n in (height, width))
    places = rows[:, None] * PARTS + columns[None]
    return _members(bands.flatten()), _members(places.flatten())


def _members(labels: Tensor) -> tuple[Tensor, ...]:
    """Where each label stands."""
    return tuple((labels == label).nonzero()[:, 0] for label in labels.unique())


def _excess(square: Tensor, members: Sequence[Tensor], each: int) -> Tensor:
    """The sum over groups of places in ``[H, W]`` of squares ``[B, C, H, W]``, means of some."""
    total = torch.zeros(len(square), dtype=torch.float64)
    for inside in members:
        count = len(inside) * each
        if count >= LEAST:
            v = square.flatten(2)[..., inside].mean(-1)
            total += (count / 2 * (v - 1 - v.log())).sum(1)
    return total


def fast_cosines(x: Tensor) -> Tensor:
    """The transform :func:`cosines` of the last axis by FFT.

    Source: J. Makhoul, "A fast cosine transform in one and two dimensions", IEEE Trans. ASSP 1980.

    Args:
        x: float64 ``[..., n]``.
    """
    size = x.shape[-1]
    folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
    angles = -math.pi / (2 * size) * torch.arange(size, dtype=torch.float64)
    turn = torch.polar(torch.full_like(angles, math.sqrt(2 / size)), angles)
    turn[0] /= math.sqrt(2)
    return (torch.fft.fft(folded) * turn).real


@cache
def cosines(size: int) -> Tensor:
    r"""The orthonormal cosine transform (DCT-II) as a matrix, float64 ``[size, size]``.

    .. math:: C_{kj} = \sqrt{\tfrac{2 - \delta_{k0}}{n}} \cos\frac{\pi k (2 j + 1)}{2 n}
    """
    k = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi * k[:, None] * (2 * k[None] + 1) / (2 * size))
    matrix *= math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


@cache
def _law(shape: tuple[int, ...]) -> tuple[float, float]:
    """Shape and scale of the gamma law of :func:`excess` for drawn noise."""
    draw = torch.Generator().manual_seed(0)
    found = torch.cat([excess(torch.randn(1, *shape, generator=draw)) for _ in range(DRAWS)])
    mean, variance = found.mean().item(), found.var().item()
    return mean**2 / variance, variance / mean
