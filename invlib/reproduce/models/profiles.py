"""What profiles are made of: embedded models on a CPU, or full-size ones; one code path."""

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
from .full_size import full_size, known, rehearsed


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


def text_model(profile: str) -> TextModel:
    """The text-to-image model of a profile: the embedded one, or one of full size.

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
    pipe = paper_models.pipeline(profile)
    config = pipe.unet.config
    return TextModel(
        pipe=pipe,
        prompts=partial(paper_models.prompts, profile),
        shape=(config.in_channels, config.sample_size, config.sample_size),
        device=paper_models.device(profile),
        denoiser=text_denoiser,
        model=full_size(profile).label,
    )


def latent(profile: str, count: int, guidance: float) -> Space:
    """The text-to-image model of a profile, on prompts that are known."""
    text = text_model(profile)
    side = text.pipe.vae_scale_factor * text.shape[-1]
    return Space(
        name="latent",
        label=label("latent", side, guidance),
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
        denoiser = paper_models.pixel_network(profile)
        schedule, side = imagenet64.schedule(), imagenet64.side(rehearsed(profile))
        device, model = paper_models.device(profile), "imagenet64_uncond_100M_1500K"
    return Space(
        name="pixel",
        label=label("pixel", side, 1.0),
        guidance=1.0,
        grid=partial(schedule.grid, spacing="logsnr", t_max=0.9946 * (schedule.times - 1)),
        denoiser=denoiser,
        noise=noise_for(count, (3, side, side)).to(device),
        picture=lambda x: (x / 2 + 0.5).clamp(0, 1),
        noise_picture=lambda x: (x / 6 + 0.5).clamp(0, 1),
        model=model,
    )


def label(space: str, side: int, guidance: float) -> str:
    """What to call a space with pictures of some side."""
    if space == "pixel":
        return f"pixel-space model, {side} x {side}, unconditional"
    return f"latent model, {side} x {side}, CFG {guidance:g}"


def device_name() -> str:
    """The device that results were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"
