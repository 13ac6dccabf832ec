"""Noise that a pipeline packed into tokens, as it was drawn."""

from __future__ import annotations

import math

from torch import Tensor

from .generators import Shape


def unpacked(tokens: Tensor, shape: Shape) -> Tensor | None:
    r"""Tokens ``[B, T, D]`` as noises ``[B, C, ..., H, W]``; None if they are none of these.

    .. math:: T = \tfrac{H}{p}\,\tfrac{W}{p}, \qquad D = C\,p^2

    A token holds a square of p x p values of every channel, channel by channel, as Flux, Qwen-Image
    and LTX pack them; frames of a clip come one after the other.

    Args:
        tokens: packed noises.
        shape: shape of a draw, ``[N, C, H, W]`` or ``[N, C, F, H, W]``.
    """
    channels, height, width = shape[1], *shape[-2:]
    size = math.isqrt(tokens.shape[2] // channels)
    frames = math.prod(shape[2:-2])
    across = (frames, height // max(size, 1), width // max(size, 1))
    if tokens.shape[1:] != (math.prod(across), channels * size**2) or height % size or width % size:
        return None
    cut = tokens.reshape(len(tokens), *across, channels, size, size)
    return cut.permute(0, 4, 1, 2, 5, 3, 6).reshape(len(tokens), *shape[1:])
