"""The state of a reversible sampler is a pair; a run has one at each end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """The complete state of a reversible sampler: two images large.

    Attributes:
        state: the noise at one end, the image at the other, ``[B, ...]``.
        companion: what the algebra needs beside it, ``[B, ...]``: EDICT's second copy, or the
            neighbour in time (BDIA, O-BELM).
    """

    state: Tensor
    companion: Tensor


@dataclass(frozen=True)
class ReversibleRun:
    """Both ends of a run, from whichever end it began.

    Attributes:
        start: the pair at the noisy end, float64.
        end: the pair at the image end, float64.
        nfe: network evaluations that each sample paid for, ``[B]``.
        from_pair: whether the run was given a pair. If not, the companion was made from the
            noise (as these samplers begin), or guessed from the image.
        scale: of the first state, over the noise: that of the sampler's grid, 1 unless variance
            explodes.
    """

    start: Pair
    end: Pair
    nfe: Tensor
    from_pair: bool
    scale: float = 1.0

    @property
    def noise(self) -> Tensor:
        """The noise alone, ``[B, ...]``: the first state over its scale."""
        return self.start.state / self.scale

    @property
    def image(self) -> Tensor:
        """The image (or latent) alone, ``[B, ...]``."""
        return self.end.state

    @property
    def finite(self) -> Tensor:
        """Which samples stayed within the range of the numbers, ``[B]``."""
        both = torch.cat(
            [torch.stack([p.state, p.companion], 1) for p in (self.start, self.end)], 1
        )
        return torch.isfinite(both).flatten(1).all(1)
