r"""Gradient-free decoder inversion: the forward step method on :math:`E(D(z)) = E(x)`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..shapes import column
from ..watch import count, enter, observe
from .box import Box
from .gradient import cosine
from .inversion import DecoderInversion, decoder_inverter, judge, refuse_nan
from .model import Autoencoder

Rule = Callable[[Tensor, Callable[[Tensor], Tensor], int], Tensor]


@decoder_inverter
def gradient_free(
    autoencoder: Autoencoder, box: Box, *, iterations: int = 60, rule: Rule | None = None
) -> DecoderInversion:
    r"""Search latents whose decoding is *encoded* like the image, without derivatives.

    .. math:: z \leftarrow z - \rho\,\bigl(E(D(z)) - E(x)\bigr), \qquad z^{(0)} = E(x)

    It converges where :math:`E\circ D` is cocoercive. A solution satisfies
    :math:`E(D(z)) = E(x)`, which :math:`D(z) = x` implies, but not the other way round. Of the
    visited latents the ones with the smallest residual are returned.

    Args:
        autoencoder: the autoencoder.
        box: the images; only their centres are used.
        iterations: steps, each one decoder and one encoder evaluation.
        rule: how to step: :func:`plain` (default), :func:`inertial` or :func:`adam`, called.

    Raises:
        NoEncoder: if there is no encoder.

    Source: Hong et al., "Gradient-free decoder inversion in latent diffusion models",
    NeurIPS 2024.
    """
    step = plain() if rule is None else rule
    best_residual = torch.full((len(box),), torch.inf, dtype=torch.float64)
    target = autoencoder.encode(box.center)
    rows, first, paid, why = range(len(box)), best_residual, 1, None
    count(dict.fromkeys(rows, 1))
    refuse_nan(target, "encoder")
    z, best = target.clone(), target.clone()

    def residual(y: Tensor) -> Tensor:
        nonlocal best, best_residual
        picture = autoencoder.decode(y)
        if best_residual.isinf().all():
            refuse_nan(picture, "decoder")
        r = autoencoder.encode(picture) - target
        size = r.flatten(1).norm(dim=1).nan_to_num(torch.inf)
        better = size < best_residual.to(size)
        best = torch.where(column(better, y), y, best)
        best_residual = torch.where(better, size, best_residual.to(size))
        return r

    for k in range(iterations):
        enter("gradient_free", k, iterations)
        z = step(z, residual, k)
        paid += 2
        count(dict.fromkeys(rows, 2))
        first = best_residual.clamp(min=1e-300) if k == 0 else first
        why = observe(best_residual / first)
        if why:
            break
    counts = torch.full((len(box),), paid)
    reason = (why or "budget",) * len(box)
    return judge(autoencoder, box, best, counts, reason, "gradient_free")


def plain(*, rho: float = 0.3) -> Rule:
    r"""The forward step method, :math:`z - \rho\,r(z)`."""
    return lambda z, residual, k: z - rho * residual(z)


def inertial(*, rho: float = 0.3, momentum: float = 0.7) -> Rule:
    r"""Inertial Krasnoselskii-Mann: :math:`y = z + a (z - z_{-1})`, then :math:`y - \rho r(y)`."""
    last: list[Tensor] = []

    def rule(z: Tensor, residual: Callable[[Tensor], Tensor], k: int) -> Tensor:
        y = z + momentum * (z - last[0]) if k else z
        last[:] = [z]
        return y - rho * residual(y)

    return rule


def adam(*, learning_rate: float = 0.1, iterations: int = 60, warm_up: int = 6) -> Rule:
    """Adam with the residual in the place of a gradient (their practical, unproved variant)."""
    first: list[Tensor] = []
    second: list[Tensor] = []

    def rule(z: Tensor, residual: Callable[[Tensor], Tensor], k: int) -> Tensor:
        r = residual(z)
        m = 0.9 * first[0] + 0.1 * r if k else 0.1 * r
        v = 0.999 * second[0] + 0.001 * r**2 if k else 0.001 * r**2
        first[:], second[:] = [m], [v]
        m, v = m / (1 - 0.9 ** (k + 1)), v / (1 - 0.999 ** (k + 1))
        return z - learning_rate * cosine(min(k, iterations), iterations, warm_up) * m / (
            v.sqrt() + 1e-8
        )

    return rule
