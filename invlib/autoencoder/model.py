"""An autoencoder as two plain functions; latents are float64, the network keeps its dtype."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..newton import forward_mode


@dataclass(frozen=True)
class Autoencoder:
    r"""Encoder and decoder of a latent diffusion model, in the latents that its sampler sees.

    .. math:: z = s\,(E(x) - \mu), \qquad D(z) = \mathrm{decode}(z / s + \mu)

    Attributes:
        vae: a diffusers AutoencoderKL, or any module with its ``encode`` and ``decode``.
        scale: scaling factor s.
        shift: shift :math:`\mu`.
    """

    vae: Any
    scale: float = 1.0
    shift: float = 0.0

    @classmethod
    def of(cls, vae: Any) -> Autoencoder:
        """The autoencoder of a pipeline, with the scale and shift of its configuration.

        Raises:
            ValueError: if its latents are normalised channel by channel.
        """
        config = vae.config
        for name in ("latents_mean", "latents_std"):
            if config.get(name) is not None:
                raise ValueError(f"{type(vae).__name__} sets {name}, which is not supported")
        return cls(vae, config.get("scaling_factor") or 1.0, config.get("shift_factor") or 0.0)

    @property
    def dtype(self) -> torch.dtype:
        """The network's own dtype."""
        return cast(torch.dtype, self.vae.dtype)

    def encode(self, image: Tensor) -> Tensor:
        """Mode of the encoder's posterior for images in [-1, 1], float64 ``[B, c, h, w]``."""
        mode = self.vae.encode(image.to(self.dtype)).latent_dist.mode()
        return (mode.double() - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Images, nominally in [-1, 1] but not clamped, float64 ``[B, 3, H, W]``."""
        raw = (latents / self.scale + self.shift).to(self.dtype)
        return cast(Tensor, self.vae.decode(raw).sample.double())


def decoder_jacobian(autoencoder: Autoencoder, z: Tensor, *, batch: int = 16) -> Tensor:
    """The dense Jacobian of the decoder at one image's latents ``z [1, c, h, w]``.

    Returns:
        One row for every value of the picture, one column for every latent, float64.
    """
    return torch.cat([*jacobian_columns(autoencoder, z, batch=batch)], 1)


def jacobian_columns(autoencoder: Autoencoder, z: Tensor, *, batch: int = 16) -> Iterator[Tensor]:
    """The columns of :func:`decoder_jacobian`, ``batch`` at a time."""
    product = torch.func.vmap(lambda v: forward_mode(autoencoder.decode, z, v).flatten())
    basis = torch.eye(z.numel(), dtype=z.dtype, device=z.device).view(-1, *z.shape)
    for part in basis.split(batch):
        yield product(part).T
