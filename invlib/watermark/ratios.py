r"""Likelihood ratios of keys against noise without any.

By Bayes' rule, what is believed of the noise says all:

.. math:: \Lambda_j = \frac{p(Y \mid \text{key } j)}{p(Y \mid \text{none})}
          = \frac{p(X \text{ holds key } j \mid Y)}{p(X \text{ holds key } j)}

Its mean over random keys is 1 whatever the belief is, so that
:math:`\Pr(\Lambda \ge 1/\alpha) \le \alpha` for a key that is not there, even if errors are not
what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .saddlepoint import deviate, deviate_of_log, deviate_of_table
from .shading_key import ShadingKey
from .transfer import Belief, plane
from .tree_ring import TreeRing, negate, spectrum

Key = TreeRing | ShadingKey
PART = 256  # keys that are compared at a time
LOST = 0.01  # probability that a mark which is there has left no trace
LEAST = -700.0  # of a logarithm of a probability that stays above 0


class Group(Protocol):
    """Keys of one kind, which are compared together."""

    @property
    def index(self) -> Tensor:
        """Which of all keys these are."""
        ...

    @property
    def bounded(self) -> bool:
        """Whether deviates are those of a bound of the p-value, which has no spread to measure."""
        ...

    def log_ratios(self, belief: Belief) -> Tensor:
        """Logarithms of the likelihood ratios, ``[B, K]``."""
        ...

    def deviates(self, belief: Belief) -> Tensor:
        """Normal deviates that noise without the key exceeds as seldom, ``[B, K]``."""
        ...

    def held_by(self, noise: Tensor) -> Group:
        """The group of those keys of the same kind and place that drawn noises happen to hold."""
        ...

    def some(self, numbers: list[int]) -> Group:
        """The group of some of its keys."""
        ...


@dataclass(frozen=True)
class RingGroup:
    r"""Tree-Ring keys on the same frequencies of one channel.

    With the belief :math:`X(k) \sim \mathcal{CN}(\mu_k, r_k)`, every frequency of a pair k, -k
    counting half,

    .. math:: \log\Lambda = \tfrac12 \sum_{k \in M} \Bigl(|P(k)|^2 - \frac{|P(k) - \mu_k|^2}{r_k}
              - \log r_k\Bigr).

    Attributes:
        index: which of all keys these are.
        mask: the frequencies M, bool ``[H, W]``.
        patterns: the values of the keys on them, complex128 ``[K, M]``.
        channel: channel of the noise.
    """

    index: Tensor
    mask: Tensor
    patterns: Tensor
    channel: int
    bounded: ClassVar[bool] = False

    def log_ratios(self, belief: Belief) -> Tensor:
        """Logarithms of the likelihood ratios, ``[B, K]``."""
        mean, r = self._on_mask(belief)
        product = ((mean / r) @ self.patterns.mH).real
        power = (1 - 1 / r) @ self.patterns.abs().square().T / 2
        own = (mean.abs().square() / r + r.log()).sum(1) / 2
        return product + power - own[:, None]

    def deviates(self, belief: Belief) -> Tensor:
        r"""Deviates by turning phases: those of a key are random, or those of the belief are.

        The ratio is monotone in :math:`s = \sum_k \mathrm{Re}\,\overline{P(k)} \mu_k / r_k`. With
        random phases it is a sum of independent cosines.
        """
        mean, r = self._on_mask(belief)
        places = torch.arange(self.mask.numel(), dtype=torch.float64).view(self.mask.shape)
        mirror = negate(places)
        one, alone = (places < mirror)[self.mask], (places == mirror)[self.mask]
        tails = []
        for part in self.patterns.split(PART):
            product = part.conj() * (mean / r)[:, None]
            score = product.real.sum(2)
            pairs, singles = 2 * product[..., one].abs(), product[..., alone].abs()

            def cumulants(
                t: Tensor, a: Tensor = pairs, b: Tensor = singles
            ) -> tuple[Tensor, Tensor, Tensor]:
                return _turning(t, a, b)

            spread = (pairs.square().sum(2) / 2 + singles.square().sum(2)).sqrt()
            tails.append(deviate(score, cumulants, spread))
        return torch.cat(tails, 1)

    def some(self, numbers: list[int]) -> RingGroup:
        """The group of some of its keys."""
        return replace(self, index=self.index[numbers], patterns=self.patterns[numbers])

    def held_by(self, noise: Tensor) -> RingGroup:
        """The keys of what drawn noises have on the frequencies of these, ``[n, C, H, W]``."""
        own = spectrum(noise[:, self.channel].double())[:, self.mask]
        return replace(self, index=torch.arange(len(own)), patterns=own)

    def _on_mask(self, belief: Belief) -> tuple[Tensor, Tensor]:
        mean, r = belief.mean[:, self.channel], belief.variance[:, self.channel]
        return mean[:, self.mask], r[:, self.mask]


def _turning(t: Tensor, pairs: Tensor, singles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cumulants of sums of ``a cos(angle)`` and of ``+- b``."""
    x, y = t[..., None] * pairs, t[..., None] * singles
    bessel = torch.special.i0e(x)
    slope = torch.special.i1e(x) / bessel
    small = x.abs() < 1e-6
    bend = 1 - slope.square() - torch.where(small, 0.5, slope / torch.where(small, 1.0, x))
    tanh = y.tanh()
    k = (bessel.log() + x.abs()).sum(-1) + (y.abs() + torch.log1p((-2 * y.abs()).exp())).sum(-1)
    k = k - math.log(2) * y.shape[-1]
    first = (pairs * slope).sum(-1) + (singles * tanh).sum(-1)
    second = (pairs.square() * bend).sum(-1) + (singles.square() * (1 - tanh.square())).sum(-1)
    return k, first, second


@dataclass(frozen=True)
class CellGroup:
    r"""Gaussian Shading keys of known payloads in the same channels.

    A value of the noise is believed to be normal with mean :math:`\mu` and variance
    :math:`\sigma^2`; the key puts it in the cell :math:`(a, b)`, one of :math:`2^l`:

    .. math:: \log\Lambda = \sum \log\Bigl(2^l\Bigl[\Phi\Bigl(\frac{b - \mu}{\sigma}\Bigr)
              - \Phi\Bigl(\frac{a - \mu}{\sigma}\Bigr)\Bigr]\Bigr)

    Attributes:
        index: which of all keys these are.
        cells: the cell of each value, uint8 ``[K, n]``.
        channels: channels of the noise.
        depth: l.
    """

    index: Tensor
    cells: Tensor
    channels: slice
    depth: int
    bounded: ClassVar[bool] = False

    def log_ratios(self, belief: Belief) -> Tensor:
        """Logarithms of the likelihood ratios, ``[B, K]``."""
        table = _cell_ratios(belief, self.channels, self.depth)
        found = []
        for part in self.cells.split(PART):
            found.append(sum(table[..., v] @ (part == v).double().T for v in range(2**self.depth)))
        return torch.cat([torch.as_tensor(f) for f in found], 1)

    def deviates(self, belief: Belief) -> Tensor:
        """Deviates over random streams, of which every cell is equally probable."""
        table, scores = _cell_ratios(belief, self.channels, self.depth), self.log_ratios(belief)
        found = []
        for row, score in zip(table, scores, strict=True):
            found.append(deviate_of_table(score, row))
        return torch.stack(found)

    def some(self, numbers: list[int]) -> CellGroup:
        """The group of some of its keys."""
        return replace(self, index=self.index[numbers], cells=self.cells[numbers])

    def held_by(self, noise: Tensor) -> CellGroup:
        """The keys of the cells that the values of drawn noises are in, ``[n, C, H, W]``."""
        levels = 2**self.depth
        own = (levels * torch.special.ndtr(noise[:, self.channels].double())).floor()
        cells = own.clamp(max=levels - 1).to(torch.uint8).flatten(1)
        return replace(self, index=torch.arange(len(cells)), cells=cells)


def _cell_ratios(belief: Belief, channels: slice, depth: int) -> Tensor:
    """Logarithms of how much more probable each cell has become, ``[B, n, 2^l]``."""
    mean = plane(belief.mean[:, channels])
    deviation = belief.variance[:, channels].mean((-2, -1), keepdim=True).sqrt()
    edges = torch.special.ndtri(torch.linspace(0, 1, 2**depth + 1, dtype=torch.float64))
    z = (edges - mean[..., None]) / deviation[..., None]
    low, high = z[..., :-1], z[..., 1:]
    turned = low + high > 0  # the tail that is the smaller
    low, high = torch.where(turned, -high, low), torch.where(turned, -low, high)
    above = torch.special.log_ndtr(high)
    below = (torch.special.log_ndtr(low) - above).exp().clamp(max=1 - 1e-15)
    return (depth * math.log(2) + above + torch.log1p(-below)).clamp(min=LEAST).flatten(1, 3)


@dataclass(frozen=True)
class PayloadGroup:
    r"""Gaussian Shading keys in one place whose payload of one length is not known, at depth 1.

    .. math:: \Lambda = \prod_{\text{bits}} \tfrac12 \Bigl(\prod_{\text{copies}} 2\Phi(x)
              + \prod_{\text{copies}} 2\Phi(-x)\Bigr), \qquad x = \pm \mu/\sigma

    Attributes:
        index: which of all keys these are.
        ones: the cells of payloads of ones, for every key, uint8 ``[K, n]``.
        channels: channels of the noise.
        length: bits of a payload.
    """

    index: Tensor
    ones: Tensor
    channels: slice
    length: int
    bounded: ClassVar[bool] = True

    def bits(self, belief: Belief) -> Tensor:
        """Logarithms of the likelihoods of 0 and 1 for every bit, ``[K, B, bits, 2]``."""
        table = _cell_ratios(belief, self.channels, 1)
        places = torch.arange(table.shape[1])
        slots = places % self.length  # as the code spreads a payload at depth 1
        empty = table.new_zeros(len(table), self.length, 2)
        found = []
        for one in self.ones.long():
            votes = torch.stack([table[:, places, 1 - one], table[:, places, one]], -1)
            found.append(empty.index_add(1, slots, votes))
        return torch.stack(found)

    def log_ratios(self, belief: Belief) -> Tensor:
        """Logarithms of the likelihood ratios, ``[B, K]``."""
        each = [torch.logsumexp(b, -1) - math.log(2) for b in self.bits(belief)]
        return torch.stack([e.sum(1) for e in each], 1)

    def deviates(self, belief: Belief) -> Tensor:
        r"""Deviates of a bound of the p-value, :math:`p \le 1/\Lambda`."""
        return deviate_of_log((-self.log_ratios(belief)).clamp(max=math.log(0.5)))

    def some(self, numbers: list[int]) -> PayloadGroup:
        """The group of some of its keys."""
        return replace(self, index=self.index[numbers], ones=self.ones[numbers])

    def held_by(self, noise: Tensor) -> PayloadGroup:
        """Keys whose payload of ones drawn noises hold, ``[n, C, H, W]``."""
        ones = (noise[:, self.channels] > 0).to(torch.uint8).flatten(1)
        return replace(self, index=torch.arange(len(ones)), ones=ones)


def with_loss(log_ratios: Tensor) -> Tensor:
    r"""Logarithms of ratios of marks that may be lost, :math:`\epsilon + (1-\epsilon)\Lambda`."""
    lost = torch.full_like(log_ratios, math.log(LOST))
    return torch.logaddexp(log_ratios + math.log1p(-LOST), lost)


def group(keys: Sequence[Key], shape: tuple[int, int, int]) -> list[Group]:
    """The keys, sorted by kind and place.

    Args:
        keys: the keys.
        shape: channels, height and width of the noise.

    Raises:
        ValueError: if there is no key, one is not for such noise, or real noise cannot hold it.
        TypeError: if one is no key.
    """
    if not keys:
        raise ValueError("give at least one key")
    sorted_: dict[tuple[object, ...], list[int]] = {}
    for j, key in enumerate(keys):
        sorted_.setdefault(_place(j, key, shape), []).append(j)
    return [_grouped([keys[j] for j in each], torch.tensor(each)) for each in sorted_.values()]


def _place(j: int, key: Key, shape: tuple[int, int, int]) -> tuple[object, ...]:
    if isinstance(key, TreeRing):
        if tuple(key.mask.shape) != shape[1:] or key.channel >= shape[0]:
            raise ValueError(
                f"key {j} is for channel {key.channel} of noise [{key.mask.shape[0]}, "
                f"{key.mask.shape[1]}], but the noise of this call is {list(shape)}"
            )
        if not key.symmetric:
            raise ValueError(f"key {j} is not symmetric: real noise cannot hold it; centre it at 0")
        return "ring", key.channel, key.mask.numpy().tobytes()
    if not isinstance(key, ShadingKey):
        raise TypeError(f"key {j} is a TreeRing or a ShadingKey, not {type(key).__name__}")
    deep, *plane_ = key.code.shape
    if tuple(plane_) != shape[1:] or key.channel + deep > shape[0]:
        raise ValueError(
            f"key {j} fills {list(key.code.shape)} from channel {key.channel}, but the noise of "
            f"this call is {list(shape)}"
        )
    length = key.code.bits if key.payload is None else None
    return "cells", key.channel, key.code.shape, key.code.depth, length


def _grouped(keys: Sequence[Key], index: Tensor) -> Group:
    first = keys[0]
    if isinstance(first, TreeRing):
        rings = [key for key in keys if isinstance(key, TreeRing)]
        patterns = torch.stack([key.pattern[first.mask] for key in rings])
        return RingGroup(index, first.mask, patterns, first.channel)
    codes = [key for key in keys if isinstance(key, ShadingKey)]
    if first.payload is None:
        each = [key.cells(torch.ones(first.code.bits)) for key in codes]
        ones = torch.stack([cells.flatten().to(torch.uint8) for cells in each])
        return PayloadGroup(index, ones, first.channels, first.code.bits)
    cells = torch.stack([key.cells().flatten().to(torch.uint8) for key in codes])
    return CellGroup(index, cells, first.channels, first.code.depth)
