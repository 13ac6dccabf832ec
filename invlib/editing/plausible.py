"""Latents to edit: those that decode to the picture if there are any, else the encoder's."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..autoencoder import Autoencoder, Box, DecoderInversion, NoEncoder, encoder, quasi_newton

FOREIGN = 0.5  # share of values that decode; pictures of a pipeline have nearly all


def plausible(autoencoder: Autoencoder, box: Box) -> DecoderInversion:
    r"""Latents of pictures for editing: exact ones, or else such as the network knows.

    .. math:: z = \begin{cases} D^{-1}(x) & \text{if at least half of the values come back} \\
              E(x) & \text{otherwise: no model made } x \end{cases}

    Where no latents decode to a picture, those that come nearest stand for its details by numbers
    that no sampler would make; what is painted from them is worse than from the encoder's.

    Args:
        autoencoder: the autoencoder.
        box: the pictures.
    """
    exact = quasi_newton(autoencoder, box)
    foreign = exact.inside < FOREIGN
    if not foreign.any():
        return exact
    try:
        plain = encoder(autoencoder, box)
    except NoEncoder:
        return exact
    chosen = foreign.to(exact.latents.device).view(-1, *[1] * (exact.latents.ndim - 1))
    if len(chosen) != len(exact.latents):  # rows that the pipeline packs together
        chosen = foreign.all().to(chosen)
    return replace(
        exact,
        latents=torch.where(chosen, plain.latents, exact.latents),
        image_nmse=torch.where(foreign, plain.image_nmse, exact.image_nmse),
        inside=torch.where(foreign, plain.inside, exact.inside),
        evaluations=exact.evaluations + plain.evaluations,
        reason=tuple(
            "explicit" if f else r for f, r in zip(foreign.tolist(), exact.reason, strict=True)
        ),
        method="plausible",
    )
