"""The noise of any pipeline as planes, the layout that keys are written in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..autoencoder import Autoencoder
from ..pipelines import Reading


@dataclass(frozen=True)
class Planes:
    """Where the values of a pipeline's noise stand in the picture.

    Packed tokens, frames and channels become channels ``[B, C, H, W]``, such that H and W are
    those of what the decoder takes: its own reading tells which value stands where.

    Attributes:
        shape: B, C, H and W.
        noise_shape: shape of the pipeline's noise.
        place: for each value of the planes, its place in the flat noise.
    """

    shape: tuple[int, int, int, int]
    noise_shape: tuple[int, ...]
    place: Tensor

    @classmethod
    def of(cls, reading: Reading, autoencoder: Autoencoder | None) -> Planes:
        """The planes of a call that was read.

        Raises:
            ValueError: if the noise has no height and width, as that of sound.
        """
        state = tuple(reading.stage.recording.states[0].shape)
        entrance = reading.entrance.map
        map_ = None if autoencoder is None else autoencoder.to_decoder
        place, shape = torch.arange(math.prod(state)), state
        if map_ is not None and map_.one_to_one and math.prod(map_.out_shape) == math.prod(state):
            place, shape = map_.source.cpu(), map_.out_shape
        if len(shape) not in (4, 5):
            raise ValueError(f"noise of shape {shape} has no height and width: no place for a key")
        rows = state[0]
        channels = math.prod(shape[:-2]) // rows
        return cls(
            (rows, channels, shape[-2], shape[-1]), entrance.in_shape, entrance.source.cpu()[place]
        )

    def of_noise(self, noise: Tensor) -> Tensor:
        """The planes ``[B, C, H, W]`` of a noise, float64."""
        return noise.double().cpu().flatten()[self.place].view(self.shape)

    def to_noise(self, planes: Tensor) -> Tensor:
        """The noise, in the pipeline's layout, of planes."""
        flat = torch.empty(math.prod(self.noise_shape), dtype=torch.float64)
        flat[self.place] = planes.double().cpu().flatten()
        return flat.view(self.noise_shape)
