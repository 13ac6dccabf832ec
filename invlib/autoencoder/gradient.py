r"""The encoder's answer, and the paper's gradient descent :math:`\mathcal D^\dagger`."""

from __future__ import annotations

import math

import torch

from ..shapes import column
from ..watch import count, enter, observe
from .box import Box
from .inversion import DecoderInversion, decoder_inverter, first_latents, judge, refuse_nan
from .model import Autoencoder


@decoder_inverter
def encoder(autoencoder: Autoencoder, box: Box) -> DecoderInversion:
    r"""The mode of the encoder's posterior, :math:`z = E(x)`: one evaluation, no search.

    Raises:
        NoEncoder: if there is none.
    """
    z = autoencoder.encode(box.center)
    count(dict.fromkeys(range(len(box)), 1))
    refuse_nan(z, "encoder")
    counts = torch.ones(len(box), dtype=torch.long)
    return judge(autoencoder, box, z, counts, tuple(["explicit"] * len(box)), "encoder")


@decoder_inverter
def gradient(
    autoencoder: Autoencoder,
    box: Box,
    *,
    iterations: int = 100,
    learning_rate: float = 0.1,
    warm_up: int = 10,
) -> DecoderInversion:
    r"""The paper's :math:`\mathcal D^\dagger`: Adam on the squared error of the decoded picture.

    .. math:: \min_z\ \|D(z) - x\|^2, \qquad z^{(0)} = E(x)

    The authors copy the autoencoder in every iteration and start at a random sample of the
    posterior; here nothing is copied, and the search starts at the posterior's mode. Its last
    latents are returned, or the best ones where a watch ends it.

    Args:
        autoencoder: the autoencoder.
        box: the images; only their centres are used.
        iterations: steps of Adam.
        learning_rate: its learning rate, reached after the warm-up, then falling as a cosine.
        warm_up: steps of linear warm-up.

    Source: Hong et al., CVPR 2024, and the authors' code (Adam 0.1, 100 steps, 10 of warm-up).
    """
    first = first_latents(autoencoder, box)
    best, least = first.latents, torch.full((len(box),), torch.inf).to(first.latents)
    begin, paid, why = least, first.evaluations, None
    z = first.latents.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=learning_rate)
    for k in range(iterations):
        enter("gradient", k, iterations)
        optimizer.param_groups[0]["lr"] = learning_rate * cosine(k, iterations, warm_up)
        with torch.enable_grad():
            picture = autoencoder.decode(z)
            error = box.difference(picture).square().flatten(1).sum(1)
            (z.grad,) = torch.autograd.grad(error.sum(), z)
        paid += 3
        count(dict.fromkeys(range(len(box)), 3))
        if k == 0:
            refuse_nan(picture, "decoder")
        better = error.detach() < least
        best = torch.where(column(better, z), z.detach(), best)
        least = torch.where(better, error.detach(), least)
        begin = least.clamp(min=1e-300) if k == 0 else begin
        why = observe((least / begin).sqrt())
        if why:
            break
        optimizer.step()
    counts, reason = torch.full((len(box),), paid), (why or "budget",) * len(box)
    found = best if why else z.detach()
    return judge(autoencoder, box, found, counts, reason, "gradient", first.note)


def cosine(k: int, iterations: int, warm_up: int) -> float:
    """Linear warm-up from 0 to 1, then a cosine down to 0."""
    if k < warm_up:
        return k / warm_up
    return 0.5 * (1 + math.cos(math.pi * (k - warm_up) / max(1, iterations - warm_up)))
