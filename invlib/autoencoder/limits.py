"""How much an 8-bit picture can say about its latents and its noise at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoisers import Denoiser, select
from ..newton import forward_mode
from ..sampling import sample
from ..solvers import Solver
from .box import ROUNDING
from .model import Autoencoder, decoder_jacobian


@dataclass(frozen=True)
class Limits:
    r"""Expected errors of the best estimates, if everything were linear and Gaussian.

    Attributes:
        noise: NMSE of the noise that joint estimation can reach.
        latents: NMSE of the latents that it can reach.
        two_step_noise: NMSE of the noise if the decoder is inverted first, with the prior that
            all latents are equally uncertain, and the sampler exactly afterwards.
        two_step_latents: NMSE of the latents in the first of these two steps.
        decoder_values: singular values of the decoder, falling.
        sampler_values: singular values of the sampler, falling.
    """

    noise: float
    latents: float
    two_step_noise: float
    two_step_latents: float
    decoder_values: Tensor
    sampler_values: Tensor


def limits(
    autoencoder: Autoencoder, denoiser: Denoiser, noise: Tensor, solver: Solver, *, spread: float
) -> Limits:
    r"""Linearise decoder and sampler at a known noise, and compute what can be known.

    With Jacobians :math:`J_D, J_S`, unit prior variance of the noise and rounding error of
    variance :math:`q`, the posterior covariance of the noise is

    .. math:: P = \bigl(I + J_S^\top J_D^\top J_D J_S / q\bigr)^{-1}.

    Both Jacobians are computed column by column: for small models only.

    Args:
        autoencoder: the autoencoder.
        denoiser: the network, one row.
        noise: the true noise, ``[1, ...]``.
        solver: the sampler.
        spread: standard deviation that the two-step estimate assumes of every latent.
    """
    with torch.no_grad():
        z = sample(denoiser, noise, solver).image
        decoder = decoder_jacobian(autoencoder, z)
        sampler = jacobian(
            lambda y: (
                sample(select(denoiser, torch.zeros(len(y), dtype=torch.long)), y, solver).image
            ),
            noise,
        )
    eye = torch.eye(noise.numel(), dtype=torch.float64)
    information = decoder.T @ decoder / ROUNDING
    joint = torch.linalg.inv(eye + sampler.T @ information @ sampler)
    first = torch.linalg.inv(information + eye / spread**2)
    biased = first @ sampler / spread**2
    error = biased @ biased.T + first @ information @ first
    back = torch.linalg.inv(sampler)
    return Limits(
        noise=(joint.trace() / noise.square().sum()).item(),
        latents=((sampler @ joint @ sampler.T).trace() / z.square().sum()).item(),
        two_step_noise=((back @ error @ back.T).trace() / noise.square().sum()).item(),
        two_step_latents=(error.trace() / z.square().sum()).item(),
        decoder_values=torch.linalg.svdvals(decoder),
        sampler_values=torch.linalg.svdvals(sampler),
    )


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor, *, batch: int = 64) -> Tensor:
    """The dense Jacobian of ``function`` at one sample ``x [1, ...]``, by forward mode."""
    basis = torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape[1:])
    columns = [
        forward_mode(function, x.expand_as(part).contiguous(), part).flatten(1)
        for part in basis.split(batch)
    ]
    return torch.cat(columns).T
