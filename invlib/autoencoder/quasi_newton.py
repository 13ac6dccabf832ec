"""Quasi-Newton decoder inversion: L-BFGS on the distance to the box of an 8-bit image."""

from __future__ import annotations

import torch
from torch import Tensor

from .box import Box
from .inversion import DecoderInversion, decoder_inverter, first_latents, judge
from .lbfgs import GRADIENT, lbfgs
from .model import Autoencoder

EDGE = 1e-3  # part of the half width: closer to an edge, float32 may round the other way


@decoder_inverter
def quasi_newton(
    autoencoder: Autoencoder,
    box: Box,
    *,
    iterations: int = 60,
    margin: float = 0.1,
    memory: int = 20,
    start: Tensor | None = None,
    prior: Tensor | None = None,
    ridge: float = 0.0,
) -> DecoderInversion:
    r"""Latents whose decoding rounds to the image, by L-BFGS from the encoder's answer.

    .. math:: \min_z\ \tfrac12\,\mathrm{dist}\bigl(D(z), B_x\bigr)^2
              + \tfrac\mu2\,\|z - z_{prior}\|^2,
              \qquad B_x = \{y : \mathrm{round}(y) = x\}

    Without the second term the minimum is 0 on a whole set of latents; the search starts at the
    encoder's posterior mode and keeps it wherever the decoder does not care.

    Args:
        autoencoder: the autoencoder.
        box: the images.
        iterations: most steps; each costs an evaluation and a reverse-mode derivative.
        margin: part of the half width by which the box is made smaller, so that the decoded
            picture comes to lie inside and not on an edge.
        memory: pairs that L-BFGS keeps.
        start: first latents; by default the encoder's.
        prior: the most probable latents; by default the first ones.
        ridge: :math:`\mu`, the variance of a rounding error over that of a latent.
    """
    first = first_latents(autoencoder, box, start)
    center = first.latents if prior is None else prior

    def objective(z: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        part, pull = box.rows(rows), z - center[rows]
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            picture = autoencoder.rows(rows, len(box)).decode(z)
            value = part.excess(picture, margin=margin).square().flatten(1).sum(1) / 2
            (gradient,) = torch.autograd.grad(value.sum(), z)
        value = value.detach() + ridge / 2 * pull.square().flatten(1).sum(1)
        sticks_out = part.excess(picture.detach(), margin=EDGE) != 0
        done = ~sticks_out.flatten(1).any(1) & (ridge == 0)
        return value, (gradient + ridge * pull).flatten(1), done

    found = lbfgs(objective, first.latents, iterations=iterations, memory=memory)
    evaluations = GRADIENT * found.evaluations + first.evaluations
    return judge(autoencoder, box, found.x, evaluations, found.reason, "quasi_newton", first.note)
