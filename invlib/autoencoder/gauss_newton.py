"""Gauss-Newton (Levenberg-Marquardt) decoder inversion with conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ..newton import forward_mode
from ..shapes import column
from ..watch import count, enter, observe
from .box import Box
from .inversion import DecoderInversion, judge
from .model import Autoencoder


@torch.no_grad()
def gauss_newton(
    autoencoder: Autoencoder,
    box: Box,
    *,
    iterations: int = 2,
    krylov: int = 15,
    margin: float = 1.0,
    damping: float = 1e-4,
    start: Tensor | None = None,
) -> DecoderInversion:
    r"""Levenberg-Marquardt on the distance to the box, with Jacobian products only.

    .. math:: (J^\top W J + \mu I)\,d = -J^\top r(z), \qquad
              r(z) = D(z) - P_{B}\bigl(D(z)\bigr),\quad W = \mathrm{diag}(r \ne 0)

    At ``margin`` 1 the box is its centre and this is plain least squares. A step that does not
    reduce the distance is refused and the damping :math:`\mu` of that sample raised.

    Args:
        autoencoder: the autoencoder; its networks must allow forward-mode AD.
        box: the images.
        iterations: Gauss-Newton steps.
        krylov: conjugate-gradient iterations a step, each a forward- and a reverse-mode product.
        margin: part of the half width by which the box is made smaller.
        damping: first :math:`\mu`, relative to the first Rayleigh quotient of :math:`J^\top W J`.
        start: first latents; by default the encoder's.
    """
    z = autoencoder.encode(box.center) if start is None else start.double()
    evaluations = int(start is None)
    rows, first, why = range(len(box)), torch.full((len(box),), torch.inf).to(z), None
    count(dict.fromkeys(rows, evaluations))
    mu = torch.full((len(box),), damping, dtype=torch.float64, device=z.device)
    accepted = torch.zeros(len(box), dtype=torch.bool, device=z.device)
    for k in range(iterations):
        enter("gauss_newton", k, iterations)
        picture, back = cast(Any, torch.func.vjp(autoencoder.decode, z))
        r = box.excess(picture, margin=margin)
        active = (r != 0).to(r)
        step = _conjugate_gradients(
            partial(_normal, autoencoder, z, back, active), -back(r)[0], mu, krylov
        )
        trial = box.excess(autoencoder.decode(z + step), margin=margin)
        accepted = _square(trial) < _square(r)
        z = torch.where(column(accepted, z), z + step, z)
        mu = torch.where(accepted, mu / 4, (16 * mu).clamp(min=1e-8))
        cost = 1 + 3 + 4 * krylov  # CG reuses the reverse-mode graph: 2 + 2 a product
        evaluations += cost
        count(dict.fromkeys(rows, cost))
        first = _square(r).clamp(min=1e-300) if k == 0 else first
        why = observe((torch.where(accepted, _square(trial), _square(r)) / first).sqrt())
        if why:
            break
    counts = torch.full((len(box),), evaluations)
    reason = tuple(why or ("budget" if a else "stalled") for a in accepted.tolist())
    return judge(autoencoder, box, z, counts, reason, "gauss_newton")


def _normal(
    autoencoder: Autoencoder,
    z: Tensor,
    back: Callable[[Tensor], tuple[Tensor]],
    active: Tensor,
    v: Tensor,
) -> Tensor:
    """The Gauss-Newton matrix times v."""
    return back(active * forward_mode(autoencoder.decode, z, v))[0]


def _conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, mu: Tensor, iterations: int
) -> Tensor:
    """Solve (A + mu |A| I) d = b for every sample; |A| is the first Rayleigh quotient."""
    d, residual, p = torch.zeros_like(b), b, b
    square = _square(b)
    shift = torch.zeros_like(mu)
    for k in range(iterations):
        enter("gauss_newton", k, iterations)
        image = product(p)
        if k == 0:
            shift = mu * (p * image).flatten(1).sum(1) / square.clamp(min=1e-300)
        image = image + column(shift, b) * p
        size = square / (p * image).flatten(1).sum(1).clamp(min=1e-300)
        d = d + column(size, b) * p
        residual = residual - column(size, b) * image
        new = _square(residual)
        p = residual + column(new / square.clamp(min=1e-300), b) * p
        square = new
    return d


def _square(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)
