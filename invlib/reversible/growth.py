"""How much a run enlarges a small error."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .pair import Pair
from .shear import Reversible


def growth(
    move: Callable[[Pair], Pair],
    pair: Pair,
    *,
    size: float = 1e-6,
    probes: int = 1,
    seed: int = 0,
) -> Tensor:
    r"""By how much a map of pairs enlarges small random errors, per sample.

    .. math:: \sqrt{\tfrac{1}{P}\textstyle\sum_p \|F(z + \delta_p) - F(z)\|^2 / \|\delta_p\|^2}
              \;\approx\; \|F'(z)\|_F / \sqrt{\dim z}

    For the stability of an inverse take
    ``lambda pair: invert_reversible(denoiser, pair, sampler).start`` at ``run.end``; of a sampler,
    ``lambda pair: sample_reversible(denoiser, pair, sampler).end`` at ``run.start``. One is
    neutral; round-off times this is the error to expect.

    Args:
        move: the map, from pair to pair.
        pair: where to measure, ``[B, ...]`` each.
        size: size of the error relative to the pair.
        probes: number P of random errors.
        seed: of the random errors.

    Returns:
        Growth factors, ``[B]``; infinite where the map outgrew the range of the numbers.

    Raises:
        ValueError: if size or probes is not positive.
    """
    if size <= 0 or probes < 1:
        raise ValueError(f"size and probes must be positive, got {size} and {probes}")
    generator = torch.Generator().manual_seed(seed)
    z = _flat(pair)
    before = _flat(move(pair))
    square = torch.zeros_like(z[:, 0])
    for _ in range(probes):
        delta = torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z)
        delta = size * z.norm(dim=1, keepdim=True) * delta / delta.norm(dim=1, keepdim=True)
        shifted = (z + delta).unflatten(1, (2, -1))
        after = _flat(move(Pair(*(part.view_as(pair.state) for part in shifted.unbind(1)))))
        square += ((after - before).norm(dim=1) / delta.norm(dim=1)) ** 2
    return (square / probes).sqrt().nan_to_num(nan=torch.inf)


def least_growth(sampler: Reversible) -> float:
    r"""What the inverse of a sampler enlarges errors by at the least, whatever the network.

    .. math:: \frac{\|F'\|_F}{\sqrt{\dim z}} \ge |\det F'|^{1/\dim z} = \prod_\ell |k_\ell|^{-1/2}

    A shear changes volume by k to the power of the size of an image and by nothing else: the
    network's part of its Jacobian lies off the diagonal.

    Args:
        sampler: the table.

    Returns:
        A lower bound of the inverse's :func:`growth`, per run; its reciprocal is that of sampling.
    """
    return math.exp(-0.5 * sum(math.log(abs(shear.keep)) for shear in sampler.shears))


def _flat(pair: Pair) -> Tensor:
    return torch.cat([pair.state.flatten(1), pair.companion.flatten(1)], 1).double()
