"""Pictures with two marks in their noise, attacked, and read by inverting them.

One noise holds a Tree-Ring key in channel 0 and a Gaussian Shading payload in the others, so
every inversion is used twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ...autoencoder import (
    Autoencoder,
    Box,
    DecoderInverter,
    encoder,
    gradient,
    quasi_newton,
    to_bytes,
)
from ...denoisers import Denoiser, Guided, select
from ...inversion import Inverter, invert
from ...inverters import algorithm2, multisecant, naive
from ...portraits.quality import noise_for
from ...rootfind import anderson
from ...sampling import sample
from ...watermark import (
    ATTACKS,
    OFFICIAL_CENTRE,
    GaussianShading,
    TreeRing,
    figure4_keys,
    released_keys,
)
from ..models.problem import Problem

SAMPLER, GUIDANCE = "2M-10", 3.0
RADIUS, CHANNEL, KEYS = 6.0, 0, 3  # 113 frequencies, as in the paper
BITS, SECRET = 256, b"invlib"  # the payload of the published code
DECODERS: dict[str, DecoderInverter] = {
    "encoder": encoder,
    "gradient": gradient,
    "ours": quasi_newton,
    "ours240": partial(quasi_newton, iterations=240, memory=40),
}
INVERTERS: dict[str, Inverter] = {
    "naive": partial(naive, steps=50),
    "algorithm2": partial(algorithm2, finder=anderson),
    "ours": partial(multisecant, tol=1e-2, max_iterations=20),
    "exact": multisecant,
}


def keys_named(name: str, size: tuple[int, int]) -> list[TreeRing]:
    """The keys ``released`` or ``figure4``, or ``official``: the released ones off centre.

    Args:
        name: name of the keys.
        size: height and width of the noise.
    """
    make = figure4_keys if name == "figure4" else released_keys
    centre = OFFICIAL_CENTRE if name == "official" else (0, 0)
    return make(size, radius=RADIUS, channel=CHANNEL, centre=centre)


def shading_for(shape: Sequence[int]) -> GaussianShading:
    """The payload's code, in all channels but the first of noise ``[C, H, W]``."""
    channels, height, width = shape
    return GaussianShading((channels - 1, height, width), BITS, SECRET)


@dataclass(frozen=True)
class Noises:
    """Noises with marks, one for each key.

    Attributes:
        before: with the payload only, ``[K, C, H, W]``.
        marked: with the payload and the keys.
        payload: the bits, ``[K, BITS]``.
    """

    before: Tensor
    marked: Tensor
    payload: Tensor


def noises(prompt: int, keys: str, shape: tuple[int, ...]) -> Noises:
    """The noises of a prompt, each with another key, another payload and another seed."""
    before = noise_for(KEYS, shape, seed=KEYS * prompt)
    generator = torch.Generator().manual_seed(prompt)
    payload = torch.randint(2, (KEYS, BITS), generator=generator).bool()
    before[:, 1:] = shading_for(shape).embed(before[:, 1:], payload)
    each = keys_named(keys, (shape[1], shape[2]))
    marked = torch.cat([key.embed(before[i : i + 1]) for i, key in enumerate(each)])
    return Noises(before, marked, payload)


@torch.no_grad()
def recover(
    prompt: int, keys: str, attack: str, routes: Sequence[str], profile: str
) -> dict[str, Tensor]:
    """Make the pictures of one prompt, attack them, and recover their noise.

    Args:
        prompt: number of the held-out prompt.
        keys: as in :func:`keys_named`.
        attack: one of ``ATTACKS``.
        routes: what to do: names of a decoder inversion and of an inverter, and ``empty`` if the
            prompt is unknown, such as ``encoder/naive/empty``. The decoder inversion ``true``
            stands for the true latents, without a picture.
        profile: ``tiny`` or ``paper``.

    Returns:
        ``picture``, 8-bit; the noise that each route finds; seconds an image of each of its two
        parts, as ``route/seconds``.
    """
    problem = Problem.of(SAMPLER, GUIDANCE, prompt, 1, profile)
    denoiser = select(problem.denoiser, torch.zeros(KEYS, dtype=torch.long))
    shape = tuple(problem.noise.shape[1:])
    marked = noises(prompt, keys, shape).marked.to(problem.noise.device)
    latents = sample(denoiser, marked, problem.solver).image
    autoencoder = Autoencoder.of(problem.pipe.vae)
    picture = ATTACKS[attack](to_bytes(autoencoder.decode(latents)))
    known = {"true": (latents, 0.0)}
    result = {"picture": picture}
    for route in routes:
        decoder, method, *rest = route.split("/")
        if decoder not in known:
            began = time.process_time()
            found = DECODERS[decoder](autoencoder, Box.of(picture)).latents
            known[decoder] = found, (time.process_time() - began) / KEYS
        start, first = known[decoder]
        asked = without_prompt(denoiser) if rest else denoiser
        began = time.process_time()
        noise = invert(asked, start, problem.solver, method=INVERTERS[method]).noise
        seconds = (time.process_time() - began) / KEYS
        result[route] = noise.float()
        result[f"{route}/seconds"] = torch.tensor([first, seconds])
    return result


def without_prompt(denoiser: Denoiser) -> Denoiser:
    """The network as someone sees it who does not know the prompt: the empty one, unguided.

    Raises:
        TypeError: if the denoiser has no empty prompt.
    """
    if not isinstance(denoiser, Guided):
        raise TypeError("without guidance there is no empty prompt")
    return replace(denoiser, condition=denoiser.null.expand_as(denoiser.condition), scale=1.0)
