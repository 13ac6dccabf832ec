"""Error measures."""

from __future__ import annotations

import torch
from torch import Tensor


def nmse(estimate: Tensor, truth: Tensor) -> Tensor:
    r"""Normalised mean squared error :math:`\|a-b\|^2/\|b\|^2` of every sample, ``[B]``.

    Example:
        >>> nmse(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]])).tolist()
        [0.5]
    """
    if estimate.shape != truth.shape:
        raise ValueError(f"shapes differ: {tuple(estimate.shape)} and {tuple(truth.shape)}")
    error = (estimate - truth).double().flatten(1).square().sum(1)
    return error / truth.double().flatten(1).square().sum(1)


def decibel(ratio: Tensor) -> Tensor:
    r"""A power ratio in decibels, :math:`10\log_{10}`, not below -400 dB.

    Example:
        >>> decibel(torch.tensor([1.0, 0.01])).tolist()
        [0.0, -20.0]
    """
    return 10 * torch.log10(ratio.clamp(min=1e-40))
