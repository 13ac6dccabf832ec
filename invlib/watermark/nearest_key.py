"""Whose key is it? Classification among several Tree-Ring keys, as in the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .tree_ring import TreeRing

RELEASED = (  # values of the rings in the official code, times 80
    (1.1, 0.8, 1.2, 0.9, 0.6, 1.4),
    (1.1, 0.6, 1.1, 1.2, 0.8, 1.2),
    (0.7, 1.2, 1.3, 0.8, 0.9, 1.1),
)
FIGURE4 = (  # in the paper's Figure 4, times 100
    (1.2, 1.2, 1.5, 0.8, 0.4, 0.9),
    (1.2, 0.9, 1.2, 1.1, 0.8, 0.8),
    (1.3, 1.1, 0.8, 1.2, 0.9, 0.7),
)


def released_keys(
    size: tuple[int, int],
    *,
    radius: float | None = None,
    channel: int = 0,
    centre: tuple[int, int] = (0, 0),
) -> list[TreeRing]:
    """The three keys of the official code; arguments as in ``TreeRing.rings``."""
    return _scaled(RELEASED, 80 / 64, size, radius, channel, centre)


def figure4_keys(
    size: tuple[int, int],
    *,
    radius: float | None = None,
    channel: int = 3,
    centre: tuple[int, int] = (0, 0),
) -> list[TreeRing]:
    """The three keys of the paper's Figure 4; arguments as in ``TreeRing.rings``."""
    return _scaled(FIGURE4, 100 / 64, size, radius, channel, centre)


def _scaled(
    table: Sequence[Sequence[float]],
    scale: float,
    size: tuple[int, int],
    radius: float | None,
    channel: int,
    centre: tuple[int, int],
) -> list[TreeRing]:
    return [
        TreeRing.rings(
            [scale * v for v in values], size, radius=radius, channel=channel, centre=centre
        )
        for values in table
    ]


def mean_modulus(noise: Tensor, key: TreeRing) -> Tensor:
    r"""The paper's distance, the mean of :math:`|P(k) - Y(k)|` over the key, ``[B]``."""
    return key.residual(noise).abs().mean(1)


def mean_square(noise: Tensor, key: TreeRing) -> Tensor:
    r"""The mean of :math:`|P(k) - Y(k)|^2`, best against normal errors, ``[B]``."""
    return key.residual(noise).abs().square().mean(1)


@dataclass(frozen=True)
class Classification:
    """Which of K keys is in a noise.

    Attributes:
        index: the nearest key, ``[B]``.
        distances: distance to every key, ``[B, K]``.
        log10_p: decimal logarithm of the p-value of noise without any of the keys, ``[B]``.
    """

    index: Tensor
    distances: Tensor
    log10_p: Tensor


def classify(
    noise: Tensor,
    keys: Sequence[TreeRing],
    *,
    distance: Callable[[Tensor, TreeRing], Tensor] = mean_modulus,
    variance: float | Tensor = 1.0,
) -> Classification:
    r"""Find the key that is nearest to a noise.

    .. math:: \hat\jmath = \arg\min_j d(Y, P_j), \qquad p = \min(1, K \min_j p_j)

    Args:
        noise: recovered noise, ``[B, C, H, W]``.
        keys: keys on the same frequencies of the same channel.
        distance: of noises ``[B, C, H, W]`` from a key, ``[B]``.
        variance: as in :meth:`~invlib.watermark.tree_ring.TreeRing.detect`, for the p-value.

    Raises:
        ValueError: if there are fewer than two keys, two of them are equal or on other
            frequencies, or the noise does not fit them.
    """
    separation(keys)  # checks
    distances = torch.stack([distance(noise, key) for key in keys], 1)
    lowest = torch.stack([key.detect(noise, variance=variance).log10_p for key in keys]).amin(0)
    log10_p = (lowest + math.log10(len(keys))).clamp(max=0.0)
    return Classification(distances.argmin(1), distances, log10_p)


def separation(keys: Sequence[TreeRing]) -> Tensor:
    r"""Distances between keys, in standard deviations of the noise, ``[K, K]``.

    .. math:: s_{ij} = \Bigl(\sum_k |P_i(k) - P_j(k)|^2\Bigr)^{1/2}, \qquad
              \Pr(i \to j) = \tfrac12 \operatorname{erfc}\frac{s_{ij}}{2\sqrt{2\nu}}

    is the probability that :func:`mean_square` prefers symmetric key j to the true key i when the
    recovered noise has an independent normal error of variance :math:`\nu` (so of NMSE
    :math:`\nu`).

    Args:
        keys: keys on the same frequencies of the same channel.

    Raises:
        ValueError: if there are fewer than two keys, or two are equal or on other frequencies.
    """
    if len(keys) < 2:
        raise ValueError(f"to tell keys apart needs two or more, got {len(keys)}")
    first = keys[0]
    for j, key in enumerate(keys):
        if key.channel != first.channel or not torch.equal(key.mask, first.mask):
            raise ValueError(
                f"key {j} is on other frequencies than key 0; distances do not compare"
            )
    patterns = torch.stack([torch.view_as_real(key.pattern).flatten() for key in keys])
    distances = (patterns[:, None] - patterns[None]).norm(dim=2)
    same = (distances < 1e-9).triu(1).nonzero().tolist()
    if same:
        raise ValueError(f"keys {same[0][0]} and {same[0][1]} are equal at this size and radius")
    return distances


def confusion(truth: Tensor, index: Tensor, count: int) -> Tensor:
    """How often each key (row) was taken for each (column), ``[K, K]``.

    Args:
        truth: embedded keys, ``[B]``.
        index: keys found, ``[B]``.
        count: number K of keys.

    Raises:
        ValueError: if the two differ in shape, or an index is not from 0 to K - 1.
    """
    if truth.shape != index.shape or truth.ndim != 1:
        raise ValueError(f"shapes differ: {tuple(truth.shape)} and {tuple(index.shape)}")
    both = torch.cat([truth, index])
    if len(both) and not 0 <= int(both.min()) <= int(both.max()) < count:
        raise ValueError(f"keys must be from 0 to {count - 1}")
    return torch.bincount(count * truth + index, minlength=count**2).view(count, count)


def nmae(recovered: Tensor, noise: Tensor, key: TreeRing) -> Tensor:
    r"""Normalised mean absolute error of a recovered key, as in Figure 4 of the paper.

    .. math:: \frac{\operatorname{mean}_{k \in S} |A(k) - Y(k)|}
                   {\max_S |A| - \min_S |A|}

    with A the spectrum after writing, before the real part is taken, Y that of the recovered
    noise, and S the square around the key with a quarter of its side on each side more (19 x 19
    for the paper's radius 6).

    Args:
        recovered: recovered noise, ``[B, C, H, W]``.
        noise: the noise that the key was written into, ``[B, C, H, W]``.
        key: the key.

    Returns:
        NMAE of every sample, ``[B]``.

    Raises:
        ValueError: if a noise does not fit the key or is not finite.
    """
    if recovered.shape != noise.shape:
        raise ValueError(f"shapes differ: {tuple(recovered.shape)} and {tuple(noise.shape)}")
    rows, columns = window(key)
    a = key.written(noise)[:, rows, columns].flatten(1)
    y = key.read(recovered)[:, rows, columns].flatten(1)
    return (a - y).abs().mean(1) / (a.abs().amax(1) - a.abs().amin(1))


def window(key: TreeRing) -> tuple[slice, slice]:
    """Rows and columns of the centred spectrum that Figure 4 shows of a key."""

    def enlarged(axis: int) -> slice:
        used = key.mask.any(axis).nonzero().flatten()
        low, high = int(used[0]), int(used[-1]) + 1
        more = max(1, (high - low) // 4)
        return slice(max(0, low - more), min(key.mask.shape[1 - axis], high + more))

    return enlarged(1), enlarged(0)
