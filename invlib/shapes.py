"""Shapes of batches."""

from __future__ import annotations

from torch import Tensor


def column(values: Tensor, like: Tensor) -> Tensor:
    """One number a sample, ``[B]``, shaped to multiply a batch ``like [B, ...]``."""
    return values.view(-1, *[1] * (like.ndim - 1))
