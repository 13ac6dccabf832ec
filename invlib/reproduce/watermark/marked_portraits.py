"""Portraits with three marks in one noise, or none, and what is recovered from their 8-bit files.

Channel 0 holds a ring key, channel 1 a random key, the others a payload of Gaussian Shading. Of a
shard of eight prompts the first four are marked.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ...autoencoder import Autoencoder, Box, DecoderInverter, encoder, quasi_newton, to_bytes
from ...inverters import naive
from ...sampling import sample
from ...watermark import GaussianShading, TreeRing, jpeg, released_keys
from ...watermark.ring_keys import ring_keys
from ..engine.table import SHARD
from ..models.problem import Problem

SIZE, RADIUS, KEYS = (16, 16), 6.0, 3
MARKED = SHARD // 2
RANDOM = [TreeRing.random(SIZE, seed=700 + j, radius=RADIUS, channel=1) for j in range(KEYS)]
CODES = [GaussianShading((2, *SIZE), 32, bytes([j])) for j in range(KEYS)]
PAYLOAD = torch.arange(32) % 3 == 0
DECODERS: dict[str, DecoderInverter] = {
    "inverted decoder": partial(quasi_newton, iterations=30),
    "naive": encoder,
}


def rings_of(first: int) -> list[TreeRing]:
    """The ring keys of a shard: the released ones and ones that are far apart take turns."""
    if first // SHARD % 2:
        return ring_keys(KEYS, SIZE, seed=7, radius=RADIUS)
    return released_keys(SIZE, radius=RADIUS)


def marks(noise: Tensor, first: int) -> Tensor:
    """The noises of a shard, of which row i of the first half holds the keys (first + i) mod 3."""
    result, rings = noise.clone(), rings_of(first)
    for i in range(MARKED):
        j, one = (first + i) % KEYS, slice(i, i + 1)
        result[one] = RANDOM[j].embed(rings[j].embed(result[one]))
        result[one, 2:] = CODES[j].embed(result[one, 2:], PAYLOAD)
    return result


@torch.no_grad()
def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """The noises of eight portraits, and those recovered from their PNG and JPEG files."""
    problem = Problem.of(name, guidance, first, SHARD)
    noise = marks(problem.noise, first)
    latents = sample(problem.denoiser, noise, problem.solver).image
    autoencoder = Autoencoder.of(problem.pipe.vae)
    picture = to_bytes(autoencoder.decode(latents))
    files = {"PNG": picture, "JPEG 75": jpeg(picture, quality=75)}
    result = {"noise": noise.float()}
    for decoder, invert_decoder in DECODERS.items():
        for file, values in files.items():
            last = invert_decoder(autoencoder, Box.of(values)).latents
            found = naive(problem.denoiser, last, problem.solver)
            result[f"{file}/{decoder}"] = found.noise.float()
    return result
