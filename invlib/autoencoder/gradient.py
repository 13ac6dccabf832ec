r"""The encoder's answer, and the paper's gradient descent :math:`\mathcal D^\dagger`."""

from __future__ import annotations

import math

import torch

from ..shapes import column
from ..watch import count, enter, observe
from .box import Box
from .inversion import DecoderInversion, judge
from .model import Autoencoder


def encoder(autoencoder: Autoencoder, box: Box) -> DecoderInversion:
    r"""The mode of the encoder's posterior, :math:`z = E(x)`: one evaluation, no search."""
    with torch.no_grad():
        z = autoencoder.encode(box.center)
    count(dict.fromkeys(range(len(box)), 1))
    counts = torch.ones(len(box), dtype=torch.long)
    return judge(autoencoder, box, z, counts, ("explicit",) * len(box), "encoder")


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
    with torch.no_grad():
        z = autoencoder.encode(box.center)
    rows = range(len(box))
    count(dict.fromkeys(rows, 1))
    best, least = z.clone(), torch.full((len(box),), torch.inf).to(z)
    first, counts, why = least, 1, None
    z.requires_grad_()
    optimizer = torch.optim.Adam([z], lr=learning_rate)
    for k in range(iterations):
        enter("gradient", k, iterations)
        optimizer.param_groups[0]["lr"] = learning_rate * cosine(k, iterations, warm_up)
        with torch.enable_grad():
            error = (autoencoder.decode(z) - box.center).square().flatten(1).sum(1)
            (z.grad,) = torch.autograd.grad(error.sum(), z)
        counts += 3
        count(dict.fromkeys(rows, 3))
        error = error.detach()
        best = torch.where(column(error < least, z), z.detach(), best)
        least = torch.minimum(least, error)
        first = error if k == 0 else first
        why = observe((least / first.clamp(min=1e-300)).sqrt())
        if why:
            break
        optimizer.step()
    found = best if why else z.detach()
    reason = (why or "budget",) * len(box)
    return judge(autoencoder, box, found, torch.full((len(box),), counts), reason, "gradient")


def cosine(k: int, iterations: int, warm_up: int) -> float:
    """Linear warm-up from 0 to 1, then a cosine down to 0."""
    if k < warm_up:
        return k / warm_up
    return 0.5 * (1 + math.cos(math.pi * (k - warm_up) / max(1, iterations - warm_up)))
