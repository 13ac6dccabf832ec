"""Gauss-Newton (Levenberg-Marquardt) decoder inversion with conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ..newton import forward_mode
from ..shapes import column
from ..watch import count, enter, observe, stopped
from .box import Box
from .inversion import DecoderInversion, decoder_inverter, first_latents, judge
from .model import Autoencoder

PRODUCT = 4  # evaluations that a Gauss-Newton product costs; the reverse-mode graph is reused


@decoder_inverter
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
    first = first_latents(autoencoder, box, start)
    z, paid, why = first.latents, first.evaluations, None
    begin = torch.full((len(box),), torch.inf).to(z)
    mu = torch.full((len(box),), damping, dtype=torch.float64, device=z.device)
    accepted = torch.zeros(len(box), dtype=torch.bool, device=z.device)
    for k in range(iterations):
        enter("gauss_newton", k, iterations)
        picture, back = cast(Any, torch.func.vjp(autoencoder.decode, z))
        r = box.excess(picture, margin=margin)
        active = (r != 0).to(r)
        downhill = -back(r)[0]
        count(dict.fromkeys(range(len(box)), 3))
        step, spent = _conjugate_gradients(
            partial(_normal, autoencoder, z, back, active), downhill, mu, krylov
        )
        trial = box.excess(autoencoder.decode(z + step), margin=margin)
        count(dict.fromkeys(range(len(box)), 1))
        accepted = _square(trial) < _square(r)
        z = torch.where(column(accepted, z), z + step, z)
        mu = torch.where(accepted, mu / 4, (16 * mu).clamp(min=1e-8))
        paid += 3 + spent + 1
        begin = _square(r).clamp(min=1e-300) if k == 0 else begin
        why = observe((torch.where(accepted, _square(trial), _square(r)) / begin).sqrt())
        if why:
            break
    counts = torch.full((len(box),), paid)
    reason = tuple(why or ("budget" if a else "stalled") for a in accepted.tolist())
    return judge(autoencoder, box, z, counts, reason, "gauss_newton", first.note)


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
) -> tuple[Tensor, int]:
    """Solve (A + mu |A| I) d = b for every sample; |A| is the first Rayleigh quotient.

    Returns:
        The solution, and the evaluations that its products cost.
    """
    d, residual, p, spent = torch.zeros_like(b), b, b, 0
    square = _square(b)
    shift = torch.zeros_like(mu)
    for k in range(iterations):
        image = product(p)
        spent += PRODUCT
        count(dict.fromkeys(range(len(b)), PRODUCT))
        if k == 0:
            shift = mu * (p * image).flatten(1).sum(1) / square.clamp(min=1e-300)
        image = image + column(shift, b) * p
        size = square / (p * image).flatten(1).sum(1).clamp(min=1e-300)
        d = d + column(size, b) * p
        residual = residual - column(size, b) * image
        new = _square(residual)
        p = residual + column(new / square.clamp(min=1e-300), b) * p
        square = new
        if stopped():  # the solution so far is a descent direction, too
            break
    return d, spent


def _square(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)
