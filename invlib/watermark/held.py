"""Several keys in one noise: each has to be there in the end."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .ratios import Key
from .tree_ring import TreeRing

SAME = 1e-6  # change of a spectrum that is round-off


def written_planes(keys: Mapping[str, Key], planes: Tensor) -> Tensor:
    """The noise with all keys in it, written in their order.

    Args:
        keys: the keys by their names.
        planes: standard normal noise, ``[B, C, H, W]``.

    Raises:
        ValueError: if a key does not fit the noise, or a later one overwrites it.
    """
    fresh: dict[str, Tensor] = {}
    for name, key in keys.items():
        planes = key.embed(planes)
        for earlier, then in fresh.items():
            if not _holds(keys[earlier], planes, then):
                raise ValueError(
                    f"{earlier} is overwritten by {name}: give it another channel, or write it last"
                )
        fresh[name] = planes
    return planes


def _holds(key: Key, planes: Tensor, fresh: Tensor) -> bool:
    """Whether a noise holds a key as the one into which it was just written."""
    if isinstance(key, TreeRing):
        return bool((key.residual(planes) - key.residual(fresh)).abs().max() < SAME)
    read, own = (key.code.recover(each[:, key.channels]).bits for each in (planes, fresh))
    return bool((read == own).all())
