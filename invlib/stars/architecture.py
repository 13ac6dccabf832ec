"""The network: a mixer with ReLU, without attention, convolutions or normalisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..schedule import Schedule
from ..shapes import column

PATCH, WIDTH, BLOCKS, FEATURES = 4, 128, 6, 32


class Block(nn.Module):
    """Mixes the patches channel by channel, then the channels patch by patch."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.time = nn.Linear(2 * FEATURES, width)
        self.patches = _perceptron(patches, 2 * patches)
        self.channels = _perceptron(width, 2 * width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """The tokens ``h [B, patches, width]`` after one block."""
        h = h + self.patches((h + self.time(time)[:, None]).transpose(1, 2)).transpose(1, 2)
        return h + self.channels(h)


class StarScore(nn.Module):
    r"""Predicts the score :math:`\nabla\log p_t(x) = -\epsilon/\sigma_t` of noisy star fields.

    Its rectifiers fold: between them it is linear, and nothing smooths or rescales what they do.

    Args:
        schedule: which time has which noise level; the network itself knows the levels only.
        side: pixels along an edge.
    """

    def __init__(self, schedule: Schedule, side: int = 32) -> None:
        super().__init__()
        self.schedule = schedule
        patches = (side // PATCH) ** 2
        self.cut = nn.PixelUnshuffle(PATCH)
        self.enter = nn.Linear(PATCH**2, WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(patches, WIDTH))
        self.blocks = nn.ModuleList(Block(patches, WIDTH) for _ in range(BLOCKS))
        self.leave = nn.Linear(WIDTH, PATCH**2)
        self.join = nn.PixelShuffle(PATCH)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that it computes in."""
        return self.place.dtype

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The score at states ``x [B, 1, side, side]`` and times ``t [B]``."""
        x = x.to(self.dtype)
        time = _waves(self.schedule.lambda_t(t)).to(x)
        cut = self.cut(x)
        h = self.enter(cut.flatten(2).transpose(1, 2)) + self.place
        for block in self.blocks:
            h = block(h, time)
        noise = self.join(self.leave(h).transpose(1, 2).view_as(cut))
        return -noise / column(self.schedule.sigma_t(t).to(x), noise)


def _waves(lambda_: Tensor) -> Tensor:
    """Sines and cosines of the log-SNR, ``[B, 2 FEATURES]``, of periods from 60 to 0.5."""
    periods = torch.logspace(math.log10(60), math.log10(0.5), FEATURES).to(lambda_)
    angle = 2 * math.pi * lambda_[:, None] / periods
    return torch.cat([angle.sin(), angle.cos()], 1)


def _perceptron(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
