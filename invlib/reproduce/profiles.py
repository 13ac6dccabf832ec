"""The two profiles: embedded models on a CPU, or the paper's models on a GPU; one code path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..denoisers import Denoiser, predicting
from ..pipelines import UNet, decode
from ..portraits import caption, held_out, load, portraits_denoiser
from ..portraits.load import verify
from ..portraits.quality import noise_for
from ..schedule import Grid, Schedule


@dataclass(frozen=True)
class Space:
    """A model to sample from and to invert.

    Attributes:
        name: ``pixel`` or ``latent``.
        label: what to print.
        guidance: guidance scale.
        grid: time points for a number of steps.
        denoiser: the network, for all samples.
        noise: starting noises, ``[B, ...]``.
        picture: turns a state into pictures in [0, 1], ``[B, 3, H, W]``.
        noise_picture: the same for a noise.
        model: hash of the weights.
    """

    name: str
    label: str
    guidance: float
    grid: Callable[[int], Grid]
    denoiser: Denoiser
    noise: Tensor
    picture: Callable[[Tensor], Tensor]
    noise_picture: Callable[[Tensor], Tensor]
    model: str


def spaces(profile: str, count: int, *, guidance: float = 3.0) -> list[Space]:
    """The pixel-space and the latent model of a profile.

    Raises:
        NotImplementedError: for the paper profile, whose models must come from a hub.
        ValueError: for an unknown profile.
    """
    known(profile)
    return [tiny_pixel(count), tiny_latent(count, guidance)]


def known(profile: str) -> None:
    """Check the name of a profile.

    Raises:
        NotImplementedError: for the paper profile, whose models must come from a hub.
        ValueError: for an unknown profile.
    """
    if profile == "paper":
        raise NotImplementedError(
            "PROFILE=paper needs stable-diffusion-2-1-base and the ImageNet64 model on a GPU; "
            "it is not wired up yet, and nothing has been measured on it. Use PROFILE=tiny."
        )
    if profile != "tiny":
        raise ValueError(f"unknown profile {profile!r}; use tiny or paper")


def tiny_pixel(count: int) -> Space:
    """The embedded 32 x 32 pixel model: unconditional, cosine schedule, uniform in log-SNR."""
    pipe = load("portraits-pixel")
    schedule = Schedule.cosine()
    return Space(
        name="pixel",
        label="pixel-space model, 32 x 32, unconditional",
        guidance=1.0,
        grid=partial(schedule.grid, spacing="logsnr", t_max=0.9946 * (schedule.times - 1)),
        denoiser=predicting(UNet(pipe.unet, "v_prediction"), "v_prediction"),
        noise=noise_for(count, (3, 32, 32)),
        picture=lambda x: (x / 2 + 0.5).clamp(0, 1),
        noise_picture=lambda x: (x / 6 + 0.5).clamp(0, 1),
        model=verify("portraits-pixel"),
    )


def tiny_latent(count: int, guidance: float) -> Space:
    """The embedded text-to-image latent model, on held-out prompts that are known."""
    pipe: Any = load("portraits")
    prompts = [caption(p) for p in held_out(count)]
    return Space(
        name="latent",
        label=f"latent model, 64 x 64, CFG {guidance:g}",
        guidance=guidance,
        grid=Schedule.scaled_linear().grid,
        denoiser=portraits_denoiser(pipe, prompts, guidance),
        noise=noise_for(count),
        picture=partial(decode, pipe),
        noise_picture=partial(decode, pipe),
        model=verify("portraits"),
    )


def device_name() -> str:
    """The device that results were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"
