"""Tree-Ring: a key written into the spectrum of the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling import as_state
from .chi_square import log_cdf

RADIUS = 6 / 64  # of the paper's disc, relative to the side of its latents
OFFICIAL_CENTRE = (-1, 0)  # where the official code's disc is: one row off the zero frequency


@dataclass(frozen=True)
class Detection:
    r"""How near a key is to the spectrum of a noise.

    Attributes:
        score: :math:`\eta`, ``[B]``; zero when the key is found without error.
        log10_p: decimal logarithm of the p-value, ``[B]``.
        degrees: degrees of freedom of the score, the number of frequencies of the key.
        noncentrality: :math:`\lambda`, ``[B]``.
    """

    score: Tensor
    log10_p: Tensor
    degrees: int
    noncentrality: Tensor

    @property
    def p_value(self) -> Tensor:
        """Probability that noise without the key comes this near to it, ``[B]``."""
        return 10**self.log10_p


@dataclass(frozen=True)
class TreeRing:
    r"""A key: the values that some frequencies of one channel of the noise shall have.

    Spectra are orthonormal and centred, so that the zero frequency stands at ``[H // 2, W // 2]``
    and every value of the spectrum of standard normal noise has mean square 1. The noise is real
    exactly if mask and pattern are the same under negation of the frequencies,

    .. math:: P(-k) = \overline{P(k)}, \qquad k \in M \Leftrightarrow -k \in M.

    Otherwise the real part is taken, as in the official code, and of the pattern only
    :math:`(P(k) + \overline{X(-k)})/2` is left, with X the spectrum that the pattern was put into.

    Attributes:
        pattern: values P, complex128 ``[H, W]``, zero outside the mask.
        mask: frequencies M that are written, bool ``[H, W]``.
        channel: channel of the noise.

    Raises:
        ValueError: if shapes or values do not fit.
    """

    pattern: Tensor
    mask: Tensor
    channel: int = 0

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool or self.mask.ndim != 2 or not self.mask.any():
            raise ValueError("the mask must be bool [H, W] with at least one frequency")
        if self.pattern.shape != self.mask.shape or self.pattern.dtype != torch.complex128:
            raise ValueError(f"the pattern must be complex128 {tuple(self.mask.shape)}")
        if not torch.isfinite(torch.view_as_real(self.pattern)).all():
            raise ValueError("the pattern contains NaN or infinity")
        if self.channel < 0:
            raise ValueError(f"the channel must not be negative, got {self.channel}")

    @classmethod
    def rings(
        cls,
        values: Sequence[float],
        size: tuple[int, int],
        *,
        radius: float | None = None,
        channel: int = 0,
        centre: tuple[int, int] = (0, 0),
    ) -> TreeRing:
        r"""The key of J concentric rings of equal width, each of one real value.

        .. math:: P(k) = v_j, \qquad j = \max(1, \lceil J\,|k - c| / r \rceil),
                  \qquad |k - c| \le r

        The default radius keeps the paper's part of the spectrum, r = 6 on latents of 64 x 64;
        on small latents some of the rings then hold no frequency.

        Args:
            values: values of the rings from the inside, in standard deviations of the spectrum
                (the paper's 80 is 80/64).
            size: height and width of the noise.
            radius: radius r, in frequencies.
            channel: channel of the noise.
            centre: the centre c. With ``OFFICIAL_CENTRE`` the key is that of the paper's official
                code, part of which is lost.

        Raises:
            ValueError: if there are no values, a value is not finite, or the disc does not fit.
        """
        if not values:
            raise ValueError("a key needs the value of at least one ring")
        distance, radius = _distances(size, radius, centre)
        ring = (distance * len(values) / radius - 1e-9).ceil().long().clamp(min=1) - 1
        mask = distance <= radius + 1e-9
        table = torch.tensor(values, dtype=torch.complex128)
        pattern = torch.where(mask, table[ring.clamp(max=len(values) - 1)], 0)
        return cls(pattern, mask, channel)

    @classmethod
    def random(
        cls, size: tuple[int, int], *, seed: int, radius: float | None = None, channel: int = 0
    ) -> TreeRing:
        """The key of a disc of the spectrum of standard normal noise.

        Over all seeds, noise with such a key is standard normal; with one seed, all noises share
        the disc.

        Args:
            size: height and width of the noise.
            seed: of the key.
            radius: radius of the disc, in frequencies; by default as in :meth:`rings`.
            channel: channel of the noise.

        Raises:
            ValueError: if the disc does not fit.
        """
        distance, radius = _distances(size, radius, (0, 0))
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(*size, generator=generator, dtype=torch.float64)
        mask = distance <= radius + 1e-9
        return cls(torch.where(mask, spectrum(noise), 0), mask, channel)

    @property
    def symmetric(self) -> bool:
        """Whether real noise can hold the whole key."""
        mask = torch.equal(self.mask, negate(self.mask))
        difference = (self.pattern - negate(self.pattern).conj()).abs().max()
        return mask and bool(difference <= 1e-12 * self.pattern.abs().max())

    def written(self, noise: Tensor) -> Tensor:
        """The spectrum of the key's channel after writing, before the real part is taken.

        Args:
            noise: standard normal noise, ``[B, C, H, W]``.

        Returns:
            complex128 ``[B, H, W]``.

        Raises:
            ValueError: if the noise does not fit the key or is not finite.
        """
        spectra = self.read(noise)
        return torch.where(self.mask.to(noise.device), self.pattern.to(noise.device), spectra)

    def embed(self, noise: Tensor) -> Tensor:
        """The noise with the key in it, float64; outside the mask of its channel nothing changes.

        Args:
            noise: standard normal noise, ``[B, C, H, W]``.

        Raises:
            ValueError: if the noise does not fit the key or is not finite.
        """
        result = noise.double().clone()
        centred = torch.fft.ifftshift(self.written(noise), dim=(-2, -1))
        result[:, self.channel] = torch.fft.ifft2(centred, norm="ortho").real
        return result

    def detect(self, noise: Tensor, *, variance: float | Tensor = 1.0) -> Detection:
        r"""Ask whether a noise holds the key.

        .. math:: \eta = \frac{1}{\sigma^2} \sum_{k \in M} |P(k) - Y(k)|^2, \qquad
                  p = F_{\chi^2}\Bigl(\eta;\ |M|,\ \tfrac{1}{\sigma^2} \sum_{k \in M} |P(k)|^2\Bigr)

        The frequencies k and -k of real noise are one complex number, counted twice. With a
        symmetric key and noise of the known variance :math:`\sigma^2` that makes exactly
        :math:`|M|` degrees of freedom, and p is uniform in noise without the key. To count
        :math:`2|M|`, the real and imaginary parts of all frequencies, makes false alarms at 1 %
        five times too frequent. With another key or an estimated variance, p is approximate.

        All this is about white noise. Noise that an inexact inversion has left errors in, as after
        an autoencoder, is not white, and false alarms can be far more frequent than p says: count
        them in channels, or pictures, without the key.

        Args:
            noise: recovered noise, ``[B, C, H, W]``.
            variance: :math:`\sigma^2`, for all or ``[B]``; see :func:`variance_inside` and
                :func:`variance_outside`.

        Raises:
            ValueError: if the noise does not fit the key or is not finite, or the variance is not
                positive.

        Source: Wen et al., Tree-Ring Watermarks (2023).
        """
        error = self.residual(noise)
        sigma = torch.as_tensor(variance, dtype=torch.float64, device=noise.device)
        if sigma.ndim > 1 or (sigma.ndim == 1 and len(sigma) != len(noise)):
            raise ValueError(f"variance must be one number, or one for each of {len(noise)} noises")
        if not bool((sigma > 0).all() and sigma.isfinite().all()):
            raise ValueError("the variance must be positive and finite")
        score = error.abs().square().sum(1) / sigma
        power = self.pattern[self.mask].abs().square().sum().to(noise.device)
        noncentrality = (power / sigma).expand_as(score)
        degrees = int(self.mask.sum())
        log10_p = log_cdf(score, degrees, noncentrality) / math.log(10)
        return Detection(score, log10_p, degrees, noncentrality)

    def residual(self, noise: Tensor) -> Tensor:
        """Spectrum of a noise minus the key, on the key's frequencies, complex128 ``[B, M]``."""
        values = self.read(noise)[:, self.mask.to(noise.device)]
        return values - self.pattern[self.mask].to(noise.device)

    def read(self, noise: Tensor) -> Tensor:
        """The spectrum of the key's channel, complex128 ``[B, H, W]``.

        Raises:
            ValueError: if the noise does not fit the key or is not finite.
        """
        if noise.ndim != 4 or noise.shape[2:] != self.mask.shape or self.channel >= noise.shape[1]:
            height, width = self.mask.shape
            raise ValueError(
                f"the key is for channel {self.channel} of noise [B, C, {height}, {width}], "
                f"but the noise is {list(noise.shape)}"
            )
        return spectrum(as_state(noise, "noise")[:, self.channel])


def spectrum(x: Tensor) -> Tensor:
    """Orthonormal, centred Fourier transform of real planes ``[..., H, W]``."""
    return torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1))


def negate(x: Tensor) -> Tensor:
    """A centred spectrum ``[H, W]`` read at the negative frequencies."""
    flipped = torch.fft.ifftshift(x, dim=(-2, -1)).flip((-2, -1)).roll((1, 1), (-2, -1))
    return torch.fft.fftshift(flipped, dim=(-2, -1))


def variance_inside(noise: Tensor, key: TreeRing) -> Tensor:
    """Mean square over the key's frequencies, the estimate of Wen et al. (2023), ``[B]``."""
    return key.read(noise)[:, key.mask.to(noise.device)].abs().square().mean(1)


def variance_outside(noise: Tensor, key: TreeRing) -> Tensor:
    """Mean square over all other frequencies and channels, which no key disturbs, ``[B]``."""
    key.read(noise)  # checks
    power = spectrum(noise.double()).abs().square()
    keep = torch.ones(noise.shape[1:], dtype=torch.bool, device=noise.device)
    keep[key.channel] = ~key.mask.to(noise.device)
    return power[:, keep].mean(1)


def _distances(
    size: tuple[int, int], radius: float | None, centre: tuple[int, int]
) -> tuple[Tensor, float]:
    """Distance of every frequency from the centre, ``[H, W]``, and a radius that fits."""
    radius = RADIUS * min(size) if radius is None else radius
    largest = min(n // 2 - abs(c) for n, c in zip(size, centre, strict=True))
    if not 1 <= radius <= largest:
        raise ValueError(
            f"a disc of radius {radius:g} does not fit a spectrum of {size[0]} x {size[1]}: "
            f"the radius must be from 1 to {largest}"
        )
    rows, columns = (
        torch.arange(n, dtype=torch.float64) - n // 2 - c for n, c in zip(size, centre, strict=True)
    )
    return torch.hypot(rows[:, None], columns[None, :]), radius
