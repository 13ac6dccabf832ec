"""The non-central chi-square distribution, far into its lower tail."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 10**8  # terms of all sums together


def log_cdf(x: Tensor, degrees: int, noncentrality: Tensor) -> Tensor:
    r"""Logarithm of the distribution function of the non-central chi-square distribution.

    .. math:: F(x; k, \lambda) = \sum_{n \ge 0} Q_n(\lambda/2)\,
              \frac{(x/2)^{k/2+n}\,e^{-x/2}}{\Gamma(k/2+n+1)}

    with the distribution function :math:`Q_n` of the Poisson distribution. No term is negative, so
    nothing cancels and probabilities far below the smallest float are found, where
    ``scipy.stats.ncx2.logcdf`` is minus infinity.

    Args:
        x: where, not negative, ``[B]``.
        degrees: degrees of freedom k.
        noncentrality: :math:`\lambda`, not negative, ``[B]``.

    Returns:
        :math:`\log F`, ``[B]``, float64.

    Raises:
        ValueError: if an argument is out of range, or so large that the sum would not fit.
    """
    x, half = x.double(), noncentrality.double() / 2
    if degrees < 1 or not bool(((x >= 0) & (half >= 0)).all()):
        raise ValueError("the chi-square distribution needs x, noncentrality >= 0 and degrees >= 1")
    x, half = torch.broadcast_tensors(x / 2, half)
    largest = max(x.max().item(), half.max().item()) if len(x) else 0.0
    if not largest * len(x) < MOST:
        raise ValueError(
            f"a score or noncentrality of {2 * largest:.3g} is too large; check the variance"
        )
    n = torch.arange(int(largest + 12 * largest**0.5) + 60, dtype=torch.float64, device=x.device)
    x, half, power = x[:, None], half[:, None], degrees / 2 + n
    poisson = torch.xlogy(n, half) - half - torch.lgamma(n + 1)
    term = torch.xlogy(power, x) - x - torch.lgamma(power + 1)
    total = torch.logsumexp(torch.logcumsumexp(poisson, 1).clamp(max=0.0) + term, 1)
    return total.clamp(max=0.0)
