"""Ring keys that are far apart: values of rings drawn like noise."""

from __future__ import annotations

import torch

from .tree_ring import TreeRing

RINGS = 6  # of the paper's keys


def ring_keys(
    count: int,
    size: tuple[int, int],
    *,
    seed: int,
    radius: float | None = None,
    channel: int = 0,
    rings: int = RINGS,
) -> list[TreeRing]:
    r"""Keys whose rings have independent standard normal values.

    .. math:: P_i(k) = v_{i, j(k)}, \qquad v_{ij} \sim N(0, 1), \qquad
              \mathbb E\,\sum_k |P_i(k) - P_l(k)|^2 = 2 |M|

    They have the mean square of noise, where the released keys have up to twice as much, and any
    two of them are further apart than those, whose rings are all near the same positive value.

    **Keys of another count are other keys**: with the same seed and one key more, those of
    earlier owners change, too, some or all. Make as many as you will ever need at once, or keep
    those you gave out.

    Args:
        count: number of keys, all that will ever be needed at once.
        size: height and width of the noise.
        seed: of the values; a secret.
        radius: as in :meth:`invlib.watermark.tree_ring.TreeRing.rings`.
        channel: channel of the noise.
        rings: number of rings.

    Raises:
        ValueError: if the disc does not fit.

    Source: Wen et al., Tree-Ring Watermarks (2023), whose rings are drawn from noise, too.
    """
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(count, rings, generator=draw, dtype=torch.float64)
    return [TreeRing.rings(row, size, radius=radius, channel=channel) for row in values.tolist()]
