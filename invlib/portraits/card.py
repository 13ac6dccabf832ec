"""Measure the embedded models and write their card: ``python -m invlib.portraits.card``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..markdown import table
from ..pipelines import UNet, decode
from ..sampling import sample
from ..schedule import Schedule
from ..solvers import dpm_solver_pp_2m
from .dataset import held_out
from .load import WEIGHTS, load, portraits_denoiser, verify
from .quality import (
    conditioning,
    grid_of,
    noise_for,
    prompt_accuracy,
    reconstruction_psnr,
)
from .render import caption, render

CARD = """# Model card: portraits

Two small diffusion models that ship with invlib, so that every experiment runs offline on a CPU.

| | `portraits` | `portraits-pixel` |
|---|---|---|
| task | text to 64 x 64 picture, latent 4 x 16 x 16 | unconditional 32 x 32 picture |
| networks | UNet {latent_parameters:.2f} M, text encoder {text_parameters:.2f} M, autoencoder {vae_parameters:.2f} M | UNet {pixel_parameters:.2f} M |
| prediction, schedule | noise, scaled linear | v, cosine |
| training, wall time | autoencoder {vae_steps} x {vae_batch} pictures in three stages (variational, fixed noise floor, decoder alone), {vae_minutes:.0f} min; UNet {latent_steps} x {latent_batch}, {latent_minutes:.0f} min | {pixel_steps} x {pixel_batch}, {pixel_minutes:.0f} min |
| noise floor | {floor:.2f} of the latent's standard deviation (posterior samples) | {grain:.2f} on pictures in [-1, 1] |

Device of the training: {device}. Data: {pictures} pictures drawn by `invlib.portraits.render`;
three pairs of hair and garment colours and all held-out pictures were never shown.
Re-create with `make train`. Weights are stored in half precision.

## Quality (measured, `results/models.json`)

* Autoencoder, 200 held-out pictures: PSNR {psnr:.1f} dB.
* Prompt accuracy at CFG 3, DPM-Solver++(2M)-20, 96 held-out prompts: hair colour {hair:.0%},
  garment colour {garment:.0%}, sky {sky:.0%}.

## Conditioning

How hard the latent model is to invert is a property of the model. Medians: noise error of naive
DDIM-50 inversion (16 prompts), and extreme singular values of the Jacobian of the 2M-10 sampler
(2 prompts, 12 Lanczos vectors: the smallest is an upper estimate).

{conditioning}

## Samples

![Samples of the portraits model beside rendered pictures of the same prompts](samples.png)

Rows 1 and 3: rendered from the attributes. Rows 2 and 4: sampled from the prompt, CFG 3.

![Samples of the pixel model](samples-pixel.png)

## Art

"ToonHead" by Johan Melin, CC BY 4.0, and "Landscape", CC0 1.0, remixed via DiceBear.
"""
STAGES = ("autoencoder", "floor", "decoder")


def main() -> None:
    """Measure, and write ``results/models.json``, the card and the contact sheets."""
    torch.manual_seed(0)
    training = json.loads((WEIGHTS / "training.json").read_text())
    pipe, pixel = load("portraits"), load("portraits-pixel")
    quality = {
        "psnr": reconstruction_psnr(pipe),
        "prompt_accuracy": prompt_accuracy(pipe),
        "conditioning": conditioning(pipe),
        "training": training,
        "weights": {name: verify(name) for name in ("portraits", "portraits-pixel")},
    }
    results = Path("results") / "models.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(quality, indent=1) + "\n")
    contact_sheet(pipe).save(WEIGHTS / "samples.png", optimize=True)
    pixel_sheet(pixel).save(WEIGHTS / "samples-pixel.png", optimize=True)
    (WEIGHTS / "MODEL_CARD.md").write_text(card(quality, pipe, pixel))
    print((WEIGHTS / "MODEL_CARD.md").read_text())


def card(quality: dict[str, Any], pipe: Any, pixel: Any) -> str:
    """The text of the model card."""
    t = quality["training"]
    head = ("CFG", "naive-50 noise NMSE", "smallest singular value", "largest")
    rows = [
        [
            scale,
            f"{v['naive_ddim50_noise_db']:.1f} dB",
            f"{v['sigma_min_2m10']:.2g}",
            f"{v['sigma_max_2m10']:.2g}",
        ]
        for scale, v in quality["conditioning"].items()
    ]
    accuracy = quality["prompt_accuracy"]
    return CARD.format(
        latent_parameters=_millions(pipe.unet),
        text_parameters=_millions(pipe.text_encoder),
        vae_parameters=_millions(pipe.vae),
        pixel_parameters=_millions(pixel.unet),
        vae_steps=sum(t[stage]["steps"] for stage in STAGES),
        vae_batch=t["autoencoder"]["batch"],
        vae_minutes=sum(t[stage]["seconds"] for stage in STAGES) / 60,
        latent_steps=t["latent"]["steps"],
        latent_batch=t["latent"]["batch"],
        latent_minutes=t["latent"]["seconds"] / 60,
        pixel_steps=t["pixel"]["steps"],
        pixel_batch=t["pixel"]["batch"],
        pixel_minutes=t["pixel"]["seconds"] / 60,
        floor=t["latent"]["noise_floor"],
        grain=t["pixel"]["grain"],
        device=t["device"],
        pictures=t["pictures"],
        psnr=quality["psnr"],
        hair=accuracy["hair_color"],
        garment=accuracy["garment_color"],
        sky=accuracy["sky"],
        conditioning=table(head, rows),
    )


def contact_sheet(pipe: Any, count: int = 20, guidance_scale: float = 3.0) -> Image.Image:
    """Rendered pictures above samples of the same prompts."""
    people = held_out(count)
    denoiser = portraits_denoiser(pipe, [caption(p) for p in people], guidance_scale)
    solver = dpm_solver_pp_2m(Schedule.scaled_linear().grid(20))
    with torch.no_grad():
        drawn = _pixels(decode(pipe, sample(denoiser, noise_for(count), solver).image))
    truth, half = np.stack([render(p) for p in people]), count // 2
    order = [truth[:half], drawn[:half], truth[half:], drawn[half:]]
    return _enlarged(grid_of(np.concatenate(order), half), 2)


def pixel_sheet(pixel: Any, count: int = 20) -> Image.Image:
    """Samples of the pixel model."""
    schedule = Schedule.cosine()
    solver = dpm_solver_pp_2m(
        schedule.grid(20, spacing="logsnr", t_max=0.9946 * (schedule.times - 1))
    )
    denoiser = UNet(pixel.unet, "v_prediction")
    with torch.no_grad():
        states = sample(denoiser, noise_for(count, (3, 32, 32)), solver).image
    return _enlarged(grid_of(_pixels((states / 2 + 0.5).clamp(0, 1)), 10), 4)


def _pixels(pictures: Tensor) -> np.ndarray:
    return (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _enlarged(pixels: np.ndarray, times: int) -> Image.Image:
    picture = Image.fromarray(pixels)
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def _millions(module: Any) -> float:
    return float(sum(p.numel() for p in module.parameters())) / 1e6


if __name__ == "__main__":
    main()
