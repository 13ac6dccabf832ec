r"""What errors of likelihoods leave of probabilities.

The mean of P draws is off by its standard error times Student's t with P - 1 degrees of freedom,
the same for candidates that share their random vectors. What a quadrature misses as it is cut short
has one sign, so that its normal error is the same for all candidates, too. Averages are over 4096
fixed points of such errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

POINTS = 12  # log2 of their number
HUGE = 1e9  # nats: an error of which nothing is known


def averaged(log_p: Tensor, errors: Tensor) -> Tensor:
    r"""Probabilities of candidates, averaged over what their log-likelihoods may be, ``[K]``.

    .. math:: \mathbb E_e\, \frac{e^{l_k + e_k}}{\sum_j e^{l_j + e_j}}

    Args:
        log_p: the logarithms l that were estimated, priors included, ``[K]``.
        errors: points e of :func:`errors_of`, ``[S, K]``.
    """
    return torch.softmax(log_p + errors, 1).mean(0)


def errors_of(draws: Sequence[Tensor], truncation: Sequence[float]) -> Tensor:
    r"""Errors that the log-likelihoods of candidates may have, points ``[S, K]``.

    .. math:: e_k = \sum_p \frac{(d_{kp} - \bar d_k)\, g_p}{\sqrt{P (P-1)}} \Big/
              \sqrt{\frac{\chi^2_{P-1}}{P-1}} + t_k u, \qquad g_p, u \sim \mathcal N(0, 1)

    Candidates with equally many draws share :math:`g` and :math:`\chi^2`, all share u.

    Args:
        draws: what the random vectors say of each, ``[P]``; none if it is exact.
        truncation: t of each; where it is infinite, or of a single draw, nothing is known.
    """
    counts = sorted({len(d) for d in draws if len(d) > 1})
    size = 1 + len(draws) + sum(2 * count - 1 for count in counts)
    points = torch.quasirandom.SobolEngine(size, scramble=True, seed=0)
    normal = torch.special.ndtri(points.draw(2**POINTS, dtype=torch.float64).clamp(1e-9, 1 - 1e-9))
    common, own, *parts = normal.split([1, len(draws), *(2 * count - 1 for count in counts)], 1)
    factors = dict(zip(counts, parts, strict=True))
    found = []
    for k, (d, cut) in enumerate(zip(draws, truncation, strict=True)):
        count = len(d)
        if count == 1 or not (math.isfinite(cut) and d.isfinite().all()):
            found.append(HUGE * own[:, k])
            continue
        error = cut * common[:, 0]
        if count:
            g, chi = factors[count][:, :count], factors[count][:, count:].square().sum(1).sqrt()
            error = error + g @ (d - d.mean()).double().cpu() / (math.sqrt(count) * chi)
        found.append(error)
    return torch.stack(found, 1)
