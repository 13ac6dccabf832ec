"""An autoencoder as two plain functions; latents are float64, the network keeps its dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..affine import ElementwiseMap
from ..devices import lifted, sent
from ..newton import forward_modes
from .chance import draws_nothing


class NoEncoder(ValueError):  # noqa: N818 - it says what is the case
    """The autoencoder cannot encode these images."""


@dataclass(frozen=True)
class Autoencoder:
    r"""Encoder and decoder of a latent diffusion model, in the latents that its sampler sees.

    .. math:: z = s\,(E(x) - \mu), \qquad D(z) = \mathrm{decode}(z / s + \mu)

    Latents and pictures are batches ``[B, ...]`` of any number of axes; rows are independent.

    Attributes:
        vae: any autoencoder of diffusers, or any module with its ``encode`` and ``decode``.
        scale: scaling factor s.
        shift: shift :math:`\mu`.
        to_decoder: takes the place of :math:`z / s + \mu` where that is not enough: what the
            pipeline does with its last state before it decodes it, ``[B, ...]`` to what the
            decoder takes.
        from_decoder: what the pipeline does with the decoder's output before it rounds it, to
            pictures ``[B, ...]``.
        options: further arguments of ``vae.decode``. Tensors whose length is a multiple of the
            batch are taken apart with it.
    """

    vae: Any
    scale: float = 1.0
    shift: float = 0.0
    to_decoder: ElementwiseMap | None = None
    from_decoder: ElementwiseMap | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, vae: Any) -> Autoencoder:
        """The autoencoder of a pipeline, with the scale and shift of its configuration.

        Raises:
            ValueError: if its latents are normalised channel by channel.
        """
        config = vae.config
        for name in ("latents_mean", "latents_std"):
            if config.get(name) is not None:
                raise ValueError(
                    f"{type(vae).__name__} sets {name}, which is not supported: give the map from "
                    "the sampler's latents to the decoder's as to_decoder"
                )
        return cls(vae, config.get("scaling_factor") or 1.0, config.get("shift_factor") or 0.0)

    @property
    def dtype(self) -> torch.dtype:
        """The network's own dtype."""
        return cast(torch.dtype, self.vae.dtype)

    def encode(self, image: Tensor) -> Tensor:
        """Latents of images in [-1, 1], float64: the mode, where the encoder is a distribution.

        Raises:
            NoEncoder: if there is no encoder, or its latents are none that the pipeline decodes.
        """
        name = type(self.vae).__name__
        if not hasattr(self.vae, "encode") or getattr(self.vae, "encoder", self.vae) is None:
            raise NoEncoder(f"{name} has no encoder")
        raw = image if self.from_decoder is None else self.from_decoder.least_squares(image)
        try:
            code = _code(self.vae.encode(sent(raw, self.vae, self.dtype)))
        except NotImplementedError as error:
            raise NoEncoder(f"{name} does not encode: {error}") from error
        if self.to_decoder is None:
            return (lifted(code) - self.shift) * self.scale
        if tuple(code.shape) != self.to_decoder.out_shape:
            raise NoEncoder(
                f"{name} encodes to {tuple(code.shape)}, but decodes {self.to_decoder.out_shape}"
            )
        return self.to_decoder.least_squares(code)

    def decode(self, latents: Tensor) -> Tensor:
        """Images, nominally in [-1, 1] but not clamped, float64.

        Raises:
            ValueError: if the decoder draws random numbers.
        """
        if self.to_decoder is None:
            raw = latents / self.scale + self.shift
        else:
            raw = self.to_decoder(latents)
        raw = sent(raw, self.vae, self.dtype)
        with draws_nothing(self.vae, raw.device, self.options):
            output = self.vae.decode(raw, **self.options)
        picture = lifted(_picture(output))
        return picture if self.from_decoder is None else self.from_decoder(picture)

    def rows(self, index: Tensor, of: int) -> Autoencoder:
        """The autoencoder of some rows of a batch of ``of``, where it depends on the row."""
        whole = torch.arange(of, device=index.device)
        if not (self.to_decoder or self.from_decoder or self.options) or torch.equal(index, whole):
            return self
        before, after = self.to_decoder, self.from_decoder
        return replace(
            self,
            to_decoder=None if before is None else before.rows(index, of),
            from_decoder=None if after is None else after.rows(index, of),
            options={name: _rows(value, index, of) for name, value in self.options.items()},
        )


def _code(output: Any) -> Tensor:
    """The latents in what an encoder returns."""
    if isinstance(output, tuple):
        output = output[0]
    for name in ("latent_dist", "latents", "latent"):
        output = getattr(output, name, output)
    return cast(Tensor, output if isinstance(output, Tensor) else output.mode())


def _picture(output: Any) -> Tensor:
    """The pictures in what a decoder returns."""
    if isinstance(output, tuple):
        return cast(Tensor, output[0])
    return cast(Tensor, getattr(output, "sample", output))


def _rows(value: Any, index: Tensor, of: int) -> Any:
    """Some rows of an argument, if it has rows."""
    if not isinstance(value, Tensor) or not value.ndim or len(value) % of:
        return value
    return value.unflatten(0, (of, -1))[index.to(value.device)].flatten(0, 1)


def decoder_jacobian(autoencoder: Autoencoder, z: Tensor, *, batch: int = 16) -> Tensor:
    """The dense Jacobian of the decoder at one image's latents ``z [1, ...]``.

    Returns:
        One row for every value of the picture, one column for every latent, float64.
    """
    return torch.cat([*jacobian_columns(autoencoder, z, batch=batch)], 1)


def jacobian_columns(autoencoder: Autoencoder, z: Tensor, *, batch: int = 16) -> Iterator[Tensor]:
    """The columns of :func:`decoder_jacobian`, ``batch`` at a time."""
    basis = torch.eye(z.numel(), dtype=z.dtype, device=z.device).view(-1, *z.shape)
    for part in basis.split(batch):
        yield forward_modes(autoencoder.decode, z, part).flatten(1).T
