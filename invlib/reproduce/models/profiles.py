"""The two profiles: embedded models on a CPU, or the paper's models on a GPU; one code path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...denoisers import Denoiser, predicting
from ...pipelines import UNet, decode, text_denoiser
from ...portraits import caption, held_out, load, portraits_denoiser
from ...portraits.load import verify
from ...portraits.quality import noise_for
from ...schedule import Grid, Schedule
from . import imagenet64, paper_models


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


@dataclass(frozen=True)
class TextModel:
    """A text-to-image model with its prompts.

    Attributes:
        pipe: the diffusers pipeline.
        prompts: the first prompts, so many.
        shape: shape of a latent.
        device: where its network is.
        denoiser: ``(pipe, prompts, guidance) -> denoiser``.
        model: what tells its weights from others.
    """

    pipe: Any
    prompts: Callable[[int], list[str]]
    shape: tuple[int, ...]
    device: str
    denoiser: Callable[[Any, Sequence[str], float], Denoiser]
    model: str

    def noise(self, count: int, seed: int) -> Tensor:
        """Noise of sample i from seed ``seed + i``, float64 ``[count, ...]``."""
        return noise_for(count, self.shape, seed).to(self.device)


def spaces(profile: str, count: int, *, guidance: float = 3.0) -> list[Space]:
    """The pixel-space and the latent model of a profile.

    Raises:
        ValueError: for an unknown profile.
    """
    return [pixel(profile, count), latent(profile, count, guidance)]


def known(profile: str) -> None:
    """Check the name of a profile.

    Raises:
        ValueError: for an unknown profile.
    """
    if profile not in ("tiny", "paper"):
        raise ValueError(f"unknown profile {profile!r}; use tiny or paper")


def text_model(profile: str) -> TextModel:
    """The text-to-image model of a profile: the embedded one, or Stable Diffusion 2.1.

    Raises:
        ValueError: for an unknown profile.
    """
    known(profile)
    if profile == "tiny":
        return TextModel(
            pipe=load("portraits"),
            prompts=lambda count: [caption(p) for p in held_out(count)],
            shape=(4, 16, 16),
            device="cpu",
            denoiser=portraits_denoiser,
            model=verify("portraits"),
        )
    return TextModel(
        pipe=paper_models.pipeline(),
        prompts=paper_models.prompts,
        shape=(4, 64, 64),
        device=paper_models.DEVICE,
        denoiser=text_denoiser,
        model=paper_models.TEXT_MODEL,
    )


def latent(profile: str, count: int, guidance: float) -> Space:
    """The text-to-image model of a profile, on prompts that are known."""
    text = text_model(profile)
    side = text.pipe.vae_scale_factor * text.shape[-1]
    return Space(
        name="latent",
        label=f"latent model, {side} x {side}, CFG {guidance:g}",
        guidance=guidance,
        grid=Schedule.scaled_linear().grid,
        denoiser=text.denoiser(text.pipe, text.prompts(count), guidance),
        noise=text.noise(count, 0),
        picture=partial(decode, text.pipe),
        noise_picture=partial(decode, text.pipe),
        model=text.model,
    )


def pixel(profile: str, count: int) -> Space:
    """The pixel model of a profile: the embedded one, or the paper's ImageNet64 model.

    Raises:
        ValueError: for an unknown profile.
    """
    known(profile)
    if profile == "tiny":
        network: Any = UNet(load("portraits-pixel").unet, "v_prediction")
        schedule, side, device = Schedule.cosine(), 32, "cpu"
        denoiser: Denoiser = predicting(network, "v_prediction")
        model = verify("portraits-pixel")
    else:
        schedule, side, device = imagenet64.schedule(), 64, paper_models.DEVICE
        denoiser, model = paper_models.pixel_network(), paper_models.PIXEL_MODEL
    return Space(
        name="pixel",
        label=f"pixel-space model, {side} x {side}, unconditional",
        guidance=1.0,
        grid=partial(schedule.grid, spacing="logsnr", t_max=0.9946 * (schedule.times - 1)),
        denoiser=denoiser,
        noise=noise_for(count, (3, side, side)).to(device),
        picture=lambda x: (x / 2 + 0.5).clamp(0, 1),
        noise_picture=lambda x: (x / 6 + 0.5).clamp(0, 1),
        model=model,
    )


def device_name() -> str:
    """The device that results were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"
