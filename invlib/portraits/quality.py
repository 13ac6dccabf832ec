"""How good the embedded models are: reconstruction, obedience to the prompt, conditioning."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..inverters import naive
from ..metrics import decibel, nmse
from ..pipelines import decode
from ..sampling import sample
from ..schedule import Schedule
from ..singular import singular_values
from ..solvers import ddim, dpm_solver_pp_2m
from .dataset import held_out
from .load import portraits_denoiser
from .render import (
    GARMENT_COLORS,
    HAIR_COLORS,
    SKIES,
    Portrait,
    caption,
    difference_mask,
    render,
)

ATTRIBUTES = {"hair_color": HAIR_COLORS, "garment_color": GARMENT_COLORS, "sky": SKIES}


def reconstruction_psnr(pipe: Any, count: int = 200) -> float:
    """Mean PSNR in dB of held-out pictures through the autoencoder (posterior means)."""
    pixels = np.stack([render(p) for p in held_out(count)])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        y = pipe.vae.decode(pipe.vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
    error = (y - x).square().flatten(1).mean(1)
    return (10 * torch.log10(4 / error)).mean().item()


def noise_for(count: int, shape: tuple[int, ...] = (4, 16, 16), seed: int = 0) -> Tensor:
    """Noise of sample i from seed ``seed + i``, float64 ``[count, ...]``."""
    draws = [
        torch.randn(shape, generator=torch.Generator().manual_seed(seed + i), dtype=torch.float64)
        for i in range(count)
    ]
    return torch.stack(draws)


def prompt_accuracy(pipe: Any, count: int = 96, guidance_scale: float = 3.0) -> dict[str, float]:
    """Share of samples that show the hair colour, garment colour and sky that they should."""
    people = held_out(count)
    solver = dpm_solver_pp_2m(Schedule.scaled_linear().grid(20))
    denoiser = portraits_denoiser(pipe, [caption(p) for p in people], guidance_scale)
    with torch.no_grad():
        latents = sample(denoiser, noise_for(count), solver).image
    pictures = (decode(pipe, latents) * 255).permute(0, 2, 3, 1).numpy()
    return {
        name: float(
            np.mean(
                [
                    shown(x, p, name) == getattr(p, name)
                    for x, p in zip(pictures, people, strict=True)
                ]
            )
        )
        for name in ATTRIBUTES
    }


def shown(picture: np.ndarray, portrait: Portrait, attribute: str) -> str:
    """Which value of an attribute a picture shows, by the median colour where it would be.

    The region is where the rendered portrait changes with the attribute; each value's colour is
    that of its rendered counterfactual in the same region.
    """
    values = ATTRIBUTES[attribute]
    change: Any = dataclasses.replace
    people: dict[str, Portrait] = {v: change(portrait, **{attribute: v}) for v in values}
    other = next(v for v in values if v != getattr(portrait, attribute))
    region = difference_mask(portrait, people[other])
    seen = np.median(picture[region], axis=0)
    colors = {v: np.median(render(p)[region], axis=0) for v, p in people.items()}
    return min(colors, key=lambda v: float(np.square(colors[v] - seen).sum()))


def conditioning(pipe: Any, count: int = 16) -> dict[str, dict[str, float]]:
    """Median noise error of naive DDIM-50 inversion, and singular values, per guidance scale."""
    prompts = [caption(p) for p in held_out(count)]
    schedule, noise = Schedule.scaled_linear(), noise_for(count)
    solver = ddim(schedule.grid(50))
    table = {}
    for scale in (1.0, 3.0, 7.5):
        denoiser = portraits_denoiser(pipe, prompts, scale)
        with torch.no_grad():
            image = sample(denoiser, noise, solver).image
            error = nmse(naive(denoiser, image, solver).noise, noise)
        few = portraits_denoiser(pipe, prompts[:2], scale)
        small, large = singular_values(
            few, noise[:2], dpm_solver_pp_2m(schedule.grid(10)), vectors=12
        )
        table[f"{scale:g}"] = {
            "naive_ddim50_noise_db": decibel(error).median().item(),
            "sigma_min_2m10": small.median().item(),
            "sigma_max_2m10": large.median().item(),
        }
    return table


def grid_of(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Tile pictures ``[n, H, W, 3]`` into one."""
    rows = math.ceil(len(pictures) / columns)
    return np.concatenate(
        [np.concatenate([*pictures[r * columns : (r + 1) * columns]], 1) for r in range(rows)], 0
    )
