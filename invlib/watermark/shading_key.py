"""Gaussian Shading as a key: a code, a payload, and where in the noise it stands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .gaussian_shading import GaussianShading


@dataclass(frozen=True)
class ShadingKey:
    """A Gaussian Shading mark in some channels of a noise.

    Attributes:
        code: how payloads are spread.
        payload: the bits, ``[bits]``; None if any payload may be there.
        channel: first of the channels that the code fills.

    Raises:
        ValueError: if the payload does not fit the code, none is given at a depth above 1, or the
            channel is negative.
    """

    code: GaussianShading
    payload: Tensor | None = None
    channel: int = 0

    def __post_init__(self) -> None:
        if self.payload is None and self.code.depth > 1:
            raise ValueError("at a depth above 1 the payload must be known: give it")
        if self.payload is not None and tuple(self.payload.shape) != (self.code.bits,):
            raise ValueError(
                f"the payload must be [{self.code.bits}], got {list(self.payload.shape)}"
            )
        if self.channel < 0:
            raise ValueError(f"the channel must not be negative, got {self.channel}")

    @property
    def channels(self) -> slice:
        """The channels that the code fills."""
        return slice(self.channel, self.channel + self.code.shape[0])

    def embed(self, noise: Tensor, payload: Tensor | None = None) -> Tensor:
        """The noise with the payload in it, float64 ``[B, C, H, W]``.

        Args:
            noise: standard normal noise, ``[B, C, H, W]``.
            payload: the bits, where the key has none of its own.

        Raises:
            ValueError: if there is no payload, or a shape does not fit.
        """
        bits = self.payload if payload is None else payload
        if bits is None:
            raise ValueError("this key has no payload: give one")
        result = noise.double().clone()
        result[:, self.channels] = self.code.embed(noise[:, self.channels], bits)
        return result

    def cells(self, payload: Tensor | None = None) -> Tensor:
        """The cell of the normal distribution that each value has to be in, ``[C, H, W]``."""
        bits = self.payload if payload is None else payload
        assert bits is not None
        middle = self.code.embed(torch.zeros(1, *self.code.shape), bits)[0]
        return (2**self.code.depth * torch.special.ndtr(middle)).floor().long()
