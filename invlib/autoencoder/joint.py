"""Joint refinement: what the decoder forgets, the prior of the noise may know."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..found import Found, inversion_of
from ..inversion import Inversion
from ..inverters import Inverter, exact
from ..solvers import Solver
from ..watch import stopped
from .box import ROUNDING, Box
from .inversion import DecoderInversion
from .model import Autoencoder
from .quasi_newton import quasi_newton


class Polish(Protocol):
    """Decoder inverters that can be told where to start."""

    def __call__(self, autoencoder: Autoencoder, box: Box, *, start: Tensor) -> DecoderInversion:
        """Move latents into the box."""
        ...


def joint(
    autoencoder: Autoencoder,
    denoiser: Denoiser,
    box: Box,
    solver: Solver,
    first: DecoderInversion,
    inversion: Inversion | Found,
    *,
    method: Inverter = exact,
    spread: float | None = None,
    iterations: int = 120,
    polish: Polish = quasi_newton,
) -> tuple[DecoderInversion, Inversion]:
    r"""Refine latents and noise together: the most probable noise whose picture is the image.

    .. math:: \min_z\ \frac{\mathrm{dist}(D(z), x)^2}{2q} + \frac{\|n(z)\|^2}{2},
              \qquad n(z) \approx \hat n + \frac{z - \hat z}{\tau}

    Here :math:`n(z)` is the exact inverse of the sampler, :math:`q` the variance of a rounding
    error and :math:`\tau` how far a latent moves with the noise, in the directions that matter
    here: those in which the decoder is blind are the ones in which the sampler merely passes
    scaled noise on. The second term is a ridge around :math:`\hat z - \tau\hat n`. In the end the
    latents are moved into the box again.

    Args:
        autoencoder: the autoencoder.
        denoiser: the network.
        box: the images.
        solver: the sampler.
        first: what a decoder inversion found.
        inversion: the inversion of its latents, :math:`\hat n`; or the
            :class:`invlib.ImageInversion` that holds it.
        method: how to invert the sampler again.
        spread: :math:`\tau`; by default measured with one more inversion, of latents that are
            moved at random by 1 %.
        iterations: L-BFGS steps with the ridge.
        polish: how the latents are moved into the box in the end; with :func:`active_set` small
            autoencoders get all the way.

    Returns:
        The better latents and their noise; their evaluations include those of ``first`` and
        ``inversion``. Where a watch ends the search these two themselves, with the evaluations.
    """
    inversion = inversion_of(inversion)
    if stopped():
        return first, inversion
    z, noise = first.latents, inversion.noise
    paid = inversion.nfe
    if spread is None:
        generator = torch.Generator().manual_seed(0)
        draw = torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z)
        moved = method(denoiser, z + 0.01 * z.std() * draw, solver)
        paid = paid + moved.nfe
        spread = _size(0.01 * z.std() * draw) / _size(moved.noise - noise)
    refined = quasi_newton(
        autoencoder,
        box,
        iterations=iterations,
        margin=1.0,
        memory=40,
        start=z,
        prior=z - spread * noise,
        ridge=ROUNDING / spread**2,
    )
    inside = polish(autoencoder, box, start=refined.latents)
    evaluations = first.evaluations + refined.evaluations + inside.evaluations
    again = method(denoiser, inside.latents, solver)
    if stopped():
        return replace(first, evaluations=evaluations), replace(inversion, nfe=again.nfe + paid)
    return (
        replace(inside, evaluations=evaluations, method="joint"),
        replace(again, nfe=again.nfe + paid),
    )


def _size(x: Tensor) -> float:
    """Root mean square, over a batch of which a few samples may have failed: the median one."""
    return x.flatten(1).square().mean(1).sqrt().nanmedian().item()
