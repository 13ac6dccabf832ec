"""Gaussian Shading: a payload of bits in the quantiles of the noise."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling import as_state

EDGE = 2.0**-40  # part of a cell that is kept clear on each side, so that round-off moves no bit


@dataclass(frozen=True)
class Message:
    """What was read in a noise.

    Attributes:
        bits: the payload, bool ``[B, bits]``.
        votes: mean vote for each bit, from -1 (all for 0) to 1, ``[B, bits]``.
    """

    bits: Tensor
    votes: Tensor


@dataclass(frozen=True)
class Agreement:
    """How well a message agrees with a known payload.

    Attributes:
        accuracy: share of equal bits, ``[B]``.
        log10_p: decimal logarithm of the probability that noise without it agrees as well, ``[B]``.
    """

    accuracy: Tensor
    log10_p: Tensor

    @property
    def p_value(self) -> Tensor:
        """Probability that noise without the payload agrees as well, ``[B]``."""
        return 10**self.log10_p


@dataclass(frozen=True)
class GaussianShading:
    r"""How a payload is spread over the noise.

    The payload is repeated until it fills l bits of each of the n values of the noise, and
    encrypted with a stream of bits (SHAKE-256 of the key). The l bits of a value are a number y
    that selects one of :math:`2^l` equally probable cells of the normal distribution; where in the
    cell the value falls is random:

    .. math:: z = \Phi^{-1}\Bigl(\frac{y + u}{2^l}\Bigr), \qquad u \sim U(0, 1).

    For a random payload of at least l bits every value of z is exactly standard normal (but for
    one in :math:`2^{39}`); over random keys all of z is, although the payload repeats. All noises
    with one key *and* one payload share their cells: at l = 1 any two of them correlate by
    :math:`2/\pi`. Give each image its own key where that matters.

    Attributes:
        shape: channels, height and width of the noise.
        bits: length of the payload.
        key: secret bytes.
        depth: bits per value, l; the first is the sign, which is the safest.

    Raises:
        ValueError: if the payload does not fit or depth is not from 1 to 8.

    Source: Yang et al., Gaussian Shading (CVPR 2024).
    """

    shape: tuple[int, int, int]
    bits: int
    key: bytes
    depth: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 8:
            raise ValueError(f"depth must be from 1 to 8, got {self.depth}")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"shape must be (channels, height, width), got {self.shape}")
        if not 1 <= self.bits <= self.capacity:
            raise ValueError(
                f"a payload of {self.bits} bits does not fit: noise of shape {self.shape} holds 1 "
                f"to {self.capacity} bits at depth {self.depth}"
            )

    @property
    def capacity(self) -> int:
        """The longest payload in bits, at one vote each."""
        return self.depth * math.prod(self.shape)

    @property
    def repetitions(self) -> int:
        """Votes for each bit of the payload; some bits have a few more."""
        return self.capacity // self.bits

    def embed(self, noise: Tensor, payload: Tensor) -> Tensor:
        r"""Noise that holds the payload, float64 ``[B, C, H, W]``.

        Args:
            noise: standard normal noise, the source of the places in the cells,
                :math:`u = \Phi(\mathrm{noise})`, ``[B, C, H, W]``.
            payload: zeros and ones, ``[bits]`` for all or ``[B, bits]``.

        Raises:
            ValueError: if a shape does not fit, or a value is not finite or not a bit.
        """
        noise = self._checked(noise)
        rows = self._payload(payload, len(noise)).to(noise.device)
        planes = (rows[:, self._slots(noise)] ^ self._stream(noise)).view(
            len(noise), self.depth, -1
        )
        weights = 2 ** torch.arange(self.depth - 1, -1, -1, device=noise.device)
        cell = (planes * weights[:, None]).sum(1).view_as(noise)
        place = torch.special.ndtr(noise).clamp(EDGE, 1 - EDGE)
        return torch.special.ndtri((cell + place) / 2**self.depth)

    def recover(self, noise: Tensor) -> Message:
        r"""Read the payload by the vote of its copies.

        .. math:: y = \lfloor 2^l\,\Phi(z) \rfloor

        Where as many are for 0 as for 1, the first copy decides, so that in noise without a
        payload every bit is 0 or 1 with equal probability.

        Args:
            noise: recovered noise, ``[B, C, H, W]``.

        Raises:
            ValueError: if the shape does not fit or the noise is not finite.
        """
        noise = self._checked(noise)
        levels = 2**self.depth
        cell = (levels * torch.special.ndtr(noise)).floor().clamp(0, levels - 1).long().flatten(1)
        shifts = torch.arange(self.depth - 1, -1, -1, device=noise.device)
        planes = ((cell[:, None] >> shifts[:, None]) & 1).bool().flatten(1)
        votes = 2.0 * (planes ^ self._stream(noise)).double() - 1
        slots = self._slots(noise)
        sums = votes.new_zeros(len(noise), self.bits).index_add_(1, slots, votes)
        mean = sums / torch.bincount(slots, minlength=self.bits)
        places = torch.arange(len(slots), device=noise.device)
        first = torch.full_like(mean[0], len(slots), dtype=torch.long)
        first = first.scatter_reduce(0, slots, places, "amin")
        return Message(torch.where(mean == 0, votes[:, first] > 0, mean > 0), mean)

    def detect(self, noise: Tensor, payload: Tensor) -> Agreement:
        r"""Ask whether a noise holds a known payload.

        .. math:: p = 2^{-n} \sum_{j \ge m} \binom{n}{j}

        for m equal ones among n bits.

        Args:
            noise: recovered noise, ``[B, C, H, W]``.
            payload: zeros and ones, ``[bits]`` for all or ``[B, bits]``.

        Raises:
            ValueError: if a shape does not fit, or a value is not finite or not a bit.
        """
        found = self.recover(noise).bits
        equal = (found == self._payload(payload, len(noise)).to(found.device)).sum(1)
        log = _log_choose(self.bits, noise.device) - self.bits * math.log(2)
        log_p = log.flip(0).logcumsumexp(0).flip(0)
        return Agreement(equal / self.bits, log_p[equal].clamp(max=0.0) / math.log(10))

    def _checked(self, noise: Tensor) -> Tensor:
        if noise.ndim != 4 or tuple(noise.shape[1:]) != tuple(self.shape):
            raise ValueError(f"the noise must be [B, *{self.shape}], got {list(noise.shape)}")
        return as_state(noise, "noise")

    def _payload(self, payload: Tensor, count: int) -> Tensor:
        if payload.shape not in ((self.bits,), (count, self.bits)):
            raise ValueError(
                f"the payload must be [{self.bits}] or [{count}, {self.bits}], "
                f"got {list(payload.shape)}"
            )
        if not bool(((payload == 0) | (payload == 1)).all()):
            raise ValueError("the payload must consist of zeros and ones")
        return payload.bool().expand(count, -1)

    def _slots(self, noise: Tensor) -> Tensor:
        """Which bit of the payload each place holds; places of the first plane come first.

        Every plane starts elsewhere in the payload, so that one value holds different bits.
        """
        planes = torch.arange(self.depth, device=noise.device)[:, None]
        values = torch.arange(math.prod(self.shape), device=noise.device)
        return ((values + planes * self.bits // self.depth) % self.bits).flatten()

    def _stream(self, noise: Tensor) -> Tensor:
        """The bits that encrypt."""
        digest = hashlib.shake_256(self.key).digest(-(-self.capacity // 8))
        return bits_of(digest)[: self.capacity].to(noise.device)


def bits_of(data: bytes) -> Tensor:
    """The bits of some bytes, the lowest of each first, bool ``[8 n]``."""
    table = torch.tensor(list(data), dtype=torch.int64)
    return ((table[:, None] >> torch.arange(8)) & 1).bool().flatten()


def bytes_of(bits: Tensor) -> bytes:
    """The bytes of some bits ``[8 n]``, the inverse of :func:`bits_of`.

    Raises:
        ValueError: if they do not make whole bytes.
    """
    if bits.ndim != 1 or len(bits) % 8:
        raise ValueError(f"bits must be [8 n], got {list(bits.shape)}")
    return bytes((bits.view(-1, 8).long() << torch.arange(8, device=bits.device)).sum(1).tolist())


def bit_error(nmse: Tensor, repetitions: int) -> Tensor:
    r"""Probability that a bit is read wrongly, at depth 1, when the noise has a normal error.

    .. math:: q = \frac{\arctan\sqrt{\nu}}{\pi}, \qquad
              \Pr = \sum_{j > r/2} \binom{r}{j} q^j (1-q)^{r-j}
                    + \tfrac12 \binom{r}{r/2} (q(1-q))^{r/2}

    q is the probability that an independent error of variance :math:`\nu` changes the sign of a
    standard normal number; the last term (r even) is for a tied vote, which one copy decides.

    Args:
        nmse: :math:`\nu`, any shape.
        repetitions: votes r.

    Returns:
        Probabilities, of the shape of ``nmse``.

    Raises:
        ValueError: if the NMSE is negative or there is no vote.
    """
    if repetitions < 1 or not bool((nmse >= 0).all()):
        raise ValueError("bit_error needs nmse >= 0 and repetitions >= 1")
    flip = nmse.double().sqrt().atan() / math.pi
    j = torch.arange(repetitions + 1, device=nmse.device)
    weight = (2 * j > repetitions).double() + 0.5 * (2 * j == repetitions)
    log = _log_choose(repetitions, nmse.device)
    log = log + torch.xlogy(j, flip[..., None]) + torch.xlogy(repetitions - j, 1 - flip[..., None])
    return (weight * log.exp()).sum(-1)


def _log_choose(n: int, device: torch.device) -> Tensor:
    """Logarithms of the binomial coefficients of n."""
    j = torch.arange(n + 1, dtype=torch.float64, device=device)
    return math.lgamma(n + 1) - torch.lgamma(j + 1) - torch.lgamma(n - j + 1)
