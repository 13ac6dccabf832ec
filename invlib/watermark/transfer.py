r"""What a picture keeps of its noise: gain and error of the recovered noise, as measured.

Everything is said of spectra: what is recovered of the noise X is

.. math:: Y(k) = G_{\rho(k)} X(k) + b(k) + E(k), \qquad
          E(k) \sim \mathcal{CN}(0, \tau\Sigma_{\rho(k)})

with real matrices over the channels of the noise, one for each ring :math:`\rho` of frequencies, a
mean b, and a scale :math:`\tau` of the error that is another one for every picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .tree_ring import spectrum

TAUS = torch.tensor([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
MOST_MIXED = 8  # channels up to which the error of one may tell about another's
PASSES = 2  # of the fit: the mean of the error is what the gain does not explain
FLOOR = 1e-6  # of the variance of an error, relative to the recovered noise's
FOLDS = 8  # parts of the calibration pictures, each of which is left out once


@dataclass(frozen=True)
class Belief:
    """What recovered noises say of the true ones, as spectra.

    Attributes:
        mean: expected spectrum, complex128 ``[B, C, H, W]``.
        variance: of each of its values, from 0 (known) to 1 (nothing known), ``[B, C, H, W]``, or
            ``[1, C, H, W]`` where it is the same for all.
    """

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Transfer:
    """Gain and error of the recovered noise.

    Attributes:
        gain: G, ``[R, C, C]``.
        error: the covariance of the error at scale 1, ``[R, C, C]``.
        mean: b, complex128 ``[C, H, W]``.
        log_prior: logarithm of the probability of each of the scales ``TAUS``.
    """

    gain: Tensor
    error: Tensor
    mean: Tensor
    log_prior: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the noise."""
        return self.mean.shape[-2], self.mean.shape[-1]

    def believe(self, recovered: Tensor, tau: float | Tensor) -> Belief:
        r"""The noise, given what was recovered of it and the scale of the error.

        .. math:: X \mid Y \sim \mathcal{CN}(W (Y - b),\ I - W G), \qquad
                  W = G^T (G G^T + \tau \Sigma)^{-1}

        Args:
            recovered: noise, ``[B, C, H, W]``.
            tau: the scale.
        """
        ring, gain = rings(self.size), self.gain
        total = gain @ gain.mT + tau * self.error
        back = torch.linalg.solve(total, gain).mT
        seen = self._centred(recovered)
        mean = torch.einsum("hwcd,bdhw->bchw", back[ring].to(seen.dtype), seen)
        variance = 1 - torch.einsum("rcd,rdc->rc", back, gain)
        return Belief(mean, variance.clamp(FLOOR, 1.0)[ring].movedim(-1, 0)[None])

    def believe_all(self, recovered: Tensor) -> list[Belief]:
        """The noise, given what was recovered of it, at every scale of the error."""
        return [self.believe(recovered, tau) for tau in TAUS]

    def evidence(self, recovered: Tensor) -> Tensor:
        """Logarithm of the density of recovered noises at every scale, ``[B, T]``."""
        ring, seen = rings(self.size), self._centred(recovered)
        parts = []
        for tau in TAUS:
            total = self.gain @ self.gain.mT + tau * self.error
            precision = torch.linalg.inv(total)[ring].to(seen.dtype)
            power = torch.einsum("bchw,hwcd,bdhw->bhw", seen.conj(), precision, seen).real
            parts.append(-(power + torch.logdet(total)[ring]).flatten(1).sum(1) / 2)
        return torch.stack(parts, 1)

    def _centred(self, recovered: Tensor) -> Tensor:
        return spectrum(recovered.double()) - self.mean


COMPLEX = torch.complex128


def most_likely(log_w: Tensor, beliefs: Sequence[Belief]) -> Belief:
    """The belief of the greatest weight, picture by picture.

    Args:
        log_w: weights of the beliefs, ``[B, T]``.
        beliefs: T beliefs about B pictures.
    """
    best = log_w.argmax(1).tolist()
    mean = torch.stack([beliefs[i].mean[b] for b, i in enumerate(best)])
    return Belief(mean, torch.cat([beliefs[i].variance for i in best]))


def plane(spectra: Tensor) -> Tensor:
    """Real planes of centred spectra ``[..., H, W]``, the inverse of ``spectrum``."""
    return torch.fft.ifft2(torch.fft.ifftshift(spectra, dim=(-2, -1)), norm="ortho").real


def rings(size: tuple[int, int]) -> Tensor:
    """The ring of each frequency of a centred spectrum: its distance from 0, rounded.

    Args:
        size: height and width; the distance is counted in waves over the shorter side.
    """
    short = min(size)
    rows, columns = (short * (torch.arange(n, dtype=torch.float64) - n // 2) / n for n in size)
    return torch.hypot(rows[:, None], columns).round().long()


def fit_transfer(noise: Tensor, recovered: Tensor) -> Transfer:
    r"""Measure gain and error by least squares over pictures of known noise.

    .. math:: G = S_{YX} S_{XX}^{-1}, \qquad \Sigma = S_{YY} - G S_{XY}

    in every ring; the mean is drawn towards 0 as far as so few pictures do not tell it, and what
    they do not tell of the gain counts as error,
    :math:`\Sigma\,(1 + \operatorname{tr} S_{XX}^{-1})`.

    Args:
        noise: the noises, ``[n, C, H, W]``.
        recovered: what was recovered of each.

    Raises:
        ValueError: if shapes differ, or there are fewer than four pictures.
    """
    if noise.shape != recovered.shape or noise.ndim != 4 or len(noise) < 4:
        raise ValueError(
            f"to measure errors takes four noises [n, C, H, W] or more and what was recovered of "
            f"each, got {list(noise.shape)} and {list(recovered.shape)}"
        )
    return _fitted(noise, recovered)


def left_out(noise: Tensor, recovered: Tensor) -> tuple[tuple[Tensor, Transfer], ...]:
    """Gain and error as they are measured without some of the pictures, each left out once.

    Args:
        noise: the noises, ``[n, C, H, W]``, four or more.
        recovered: what was recovered of each.

    Returns:
        For each part of the pictures which they are, bool ``[n]``, and what all others tell.
    """
    part = torch.arange(len(noise)) % FOLDS
    own = [part == k for k in part.unique()]
    return tuple((one, _fitted(noise[~one], recovered[~one])) for one in own)


def _fitted(noise: Tensor, recovered: Tensor) -> Transfer:
    """Gain and error of three pictures or more."""
    x, y = spectrum(noise.double()), spectrum(recovered.double())
    ring = rings((x.shape[-2], x.shape[-1]))
    said = x  # what of y the noise explains
    for _ in range(PASSES):
        mean = _drawn_in(y - said)
        found = [_regress(_ring(x, ring == r), _ring(y - mean, ring == r)) for r in ring.unique()]
        gain, error = (torch.stack(parts) for parts in zip(*found, strict=True))
        said = torch.einsum("hwcd,bdhw->bchw", gain[ring].to(COMPLEX), x)
    flat = TAUS.new_full(TAUS.shape, 1 / len(TAUS)).log()
    first = Transfer(gain, error, mean, flat)
    share = first.evidence(recovered).softmax(1).sum(0) + 1 / len(TAUS)
    return Transfer(first.gain, first.error, mean, (share / share.sum()).log())


def _drawn_in(rest: Tensor) -> Tensor:
    r"""The mean over pictures, drawn towards 0: :math:`\bar e\,(1 - s^2/(n|\bar e|^2))_+`."""
    n, mean = len(rest), rest.mean(0)
    spread = (rest - mean).abs().square().sum(0) / (n - 1)
    certain = 1 - spread / (n * mean.abs().square()).clamp(min=1e-12)
    return mean * certain.clamp(min=0.0)


def _ring(spectra: Tensor, one: Tensor) -> Tensor:
    """All values of a ring, ``[C, m]``."""
    return spectra[:, :, one].movedim(1, 0).flatten(1)


def _regress(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Real gain and error covariance of complex values ``[C, m]``."""
    c, m = x.shape
    xx, yx, yy = (x @ x.mH).real, (y @ x.mH).real, (y @ y.mH).real
    mixed = c <= MOST_MIXED and m >= 8 * c
    if not mixed:
        xx, yx, yy = (torch.diag(part.diagonal()) for part in (xx, yx, yy))
    gain = torch.linalg.solve(xx, yx.mT).mT
    rest = yy - gain @ yx.mT
    rest = (rest + rest.mT) / 2 / max(m - c, 1)
    unknown = torch.linalg.inv(xx).diagonal()
    rest = rest * (1 + unknown.sum() / (1 if mixed else c))
    return gain, rest + FLOOR * yy.diagonal().mean() / m * torch.eye(c, dtype=rest.dtype)
