"""Whose key: the posterior is right where the error is known, and stays honest where it is not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invlib.watermark import GaussianShading, TreeRing
from invlib.watermark.error_model import ErrorModel
from invlib.watermark.posterior import whose
from invlib.watermark.ratios import group
from invlib.watermark.shading_key import ShadingKey
from invlib.watermark.transfer import TAUS, fit_transfer

SHAPE = (2, 16, 16)


def normal(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def received(noise: Tensor, *, gain: float, std: float, seed: int) -> Tensor:
    return gain * noise + std * normal(*noise.shape, seed=seed)
