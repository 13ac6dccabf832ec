"""What the likelihood of a candidate is computed from: its network, its sampler, the latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..denoisers import Denoiser, differences, select
from ..sampling import as_state, sample
from ..solvers import Solver


@dataclass(frozen=True)
class Problem:
    r"""A sampler from standard normal noise to some latents.

    Attributes:
        denoiser: the network, with prompt and guidance.
        solver: the sampler's table.
        image: the last states, ``[B, ...]``.
        noise: the standard normal noise of first states ``[B, ...]``.
        log_scale: :math:`\log|\det|` of what lies before the first state and behind the last one,
            for one sample.
        reverse: whether the network has a reverse-mode derivative.
        max_batch: most states in one call of the network; None for as many as have room.
    """

    denoiser: Denoiser
    solver: Solver
    image: Tensor
    noise: Callable[[Tensor], Tensor]
    log_scale: float
    reverse: bool = True
    max_batch: int | None = None

    @classmethod
    def of(
        cls, denoiser: Denoiser, solver: Solver, image: Tensor, max_batch: int | None = None
    ) -> Problem:
        """The problem of a network and a table; the first state is the noise times a number."""
        image = as_state(image, "latents")
        log_scale = image[0].numel() * math.log(solver.scale)
        reverse = differences(denoiser) is None

        def noise(y: Tensor) -> Tensor:
            return y / solver.scale

        return cls(denoiser, solver, image, noise, log_scale, reverse, max_batch)

    @property
    def size(self) -> int:
        """Numbers D of a sample."""
        return self.image[0].numel()

    def row(self, index: int) -> tuple[Denoiser, Tensor]:
        """The network of one sample, and its image ``[1, ...]``."""
        rows = torch.tensor([index], device=self.image.device)
        return select(self.denoiser, rows), self.image[rows]

    def states(self, index: int, first: Tensor) -> Tensor:
        """The states of one sample that follow a first one ``[1, ...]``, ``[n+1, 1, ...]``."""
        denoiser, _ = self.row(index)
        return sample(denoiser, first, replace(self.solver, scale=1.0)).states
