"""How good sampled pictures are: what they show of the prompt, and how like the data they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...pipelines import decode
from ...portraits import Portrait, difference_mask, held_out, load, render
from ...portraits.quality import ATTRIBUTES

DATA, SKIPPED = 160, 64  # the data are held-out pictures; the first ones are the prompts

pipeline = cache(load)
"""An embedded pipeline, loaded once."""


def obeyed(pictures: Tensor, people: Sequence[Portrait]) -> Tensor:
    """Share of hair colour, garment colour and sky that each picture has right, ``[B]``.

    As :func:`invlib.portraits.quality.shown` sees them, every drawing made once.
    """
    seen = (pictures * 255).permute(0, 2, 3, 1).double().numpy()
    right = [
        [_nearest(x, p, name) == getattr(p, name) for name in ATTRIBUTES]
        for x, p in zip(seen, people, strict=True)
    ]
    return torch.tensor(right, dtype=torch.float64).mean(1)


def features(pictures: Tensor) -> Tensor:
    """Brightness, contrast and edges of each colour of pictures ``[B, 3, H, W]``, ``[B, 12]``."""
    x = pictures.double()
    steps = [x.diff(dim=3).abs(), x.diff(dim=2).abs()]
    mean, spread = x.mean((2, 3)), x.std((2, 3))
    return torch.cat([mean, spread, *(s.mean((2, 3)) for s in steps)], 1)


def distance(sample: Tensor, data: Tensor) -> float:
    r"""Energy distance of two sets of features, each feature in units of its spread in the data.

    .. math:: 1 - \frac{E\|x - x'\| + E\|y - y'\|}{2\,E\|x - y\|}

    Unbiased but for the division: 0 for the same distribution, where it may fall below, and 1 for
    two points.

    Args:
        sample: features, ``[B, d]``.
        data: features, ``[D, d]``.
    """
    x, y = sample / data.std(0), data / data.std(0)
    between = 2 * torch.cdist(x, y).mean()
    within = sum(torch.cdist(z, z).sum() / (len(z) * (len(z) - 1)) for z in (x, y))
    return (1 - within / between).item()


@cache
def data_features() -> Tensor:
    """Features of held-out pictures, drawn and sent through the autoencoder, ``[DATA, 12]``."""
    return features(reconstructed(held_out(SKIPPED + DATA)[SKIPPED:]))


def reconstructed(people: Sequence[Portrait]) -> Tensor:
    """Drawn pictures through the autoencoder of the embedded model: the best it can show."""
    pipe: Any = pipeline("portraits")
    x = torch.from_numpy(np.stack([render(p) for p in people])).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        codes = [pipe.vae.encode(part).latent_dist.mean for part in x.split(32)]
        return torch.cat([decode(pipe, z * pipe.vae.config.scaling_factor) for z in codes])


def _nearest(picture: np.ndarray, portrait: Portrait, attribute: str) -> str:
    region, colors = _swatches(portrait, attribute)
    seen = np.median(picture[region], axis=0)
    return min(colors, key=lambda value: float(np.square(colors[value] - seen).sum()))


@cache
def _swatches(portrait: Portrait, attribute: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Where an attribute shows, and the colour there of each of its values."""
    change: Any = dataclasses.replace
    people = {v: change(portrait, **{attribute: v}) for v in ATTRIBUTES[attribute]}
    other = next(v for v in people if v != getattr(portrait, attribute))
    region = difference_mask(portrait, people[other])
    return region, {v: np.median(render(p)[region], axis=0) for v, p in people.items()}
