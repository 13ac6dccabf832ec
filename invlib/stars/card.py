"""Measure the star model and write its card: ``python -m invlib.stars.card``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..markdown import table
from ..portraits.quality import grid_of
from .load import SCHEDULE, WEIGHTS, stars_denoiser, verify
from .quality import (
    QUANTILES,
    conditioning,
    denoising_error,
    held_out,
    pixel_quantiles,
    samples,
)

CARD = """# Model card: stars

A small score network that ships with invlib. It stands for the networks of other people: it folds
already without guidance, where the rectifiers switch, and its data have a high dynamic range.

| | `stars` |
|---|---|
| task | unconditional 32 x 32 star fields, one channel |
| network | ReLU mixer of {parameters:.2f} M parameters, without attention, normalisation |
| prediction, schedule | score, linear betas (the VP equation), down to sigma = {end:.2f} |
| training | {steps} x {batch} fields, each drawn once, {minutes:.0f} min ({device}{time}) |

Data: `invlib.stars.star_fields` draws point sources of four decades of brightness under a
telescope's blur, with photon noise, on a logarithmic scale. Re-create with
`python -m invlib.stars.train`. Weights are stored in half precision.

## Quality (measured, `quality.json`)

Quantiles of the pixels of 200 held-out fields and of 200 samples (DPM-Solver++(2M), 50 steps):

{pixels}

Mean square error of the predicted noise on held-out fields, by noise level:

{errors}

## Conditioning

Medians: noise error of naive inversion (8 noises), and extreme singular values of the Jacobian of
the sampler (2 noises, 12 Lanczos vectors: the smallest is an upper estimate).

{conditioning}

## Samples

![Star fields that were drawn, and below them samples of the model](samples.png)

The upper two rows are drawn, the lower two are sampled. White is the brightest tenth of a per cent.
"""


def main() -> None:
    """Measure, and write the numbers, the card and the contact sheet."""
    torch.set_num_threads(1)
    denoiser = stars_denoiser()
    drawn, made = held_out(200), samples(denoiser, 200)
    quality = {
        "weights": verify(),
        "fields": pixel_quantiles(drawn),
        "samples": pixel_quantiles(made),
        "denoising_error": denoising_error(denoiser),
        "conditioning": conditioning(denoiser),
    }
    (WEIGHTS / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")
    sheet(torch.cat([drawn[:20], made[:20].float()])).save(WEIGHTS / "samples.png", optimize=True)
    training = json.loads((WEIGHTS / "training.json").read_text())
    text = card(quality, training, sum(p.numel() for p in denoiser.network.parameters()))
    (WEIGHTS / "MODEL_CARD.md").write_text(text)
    print(text)


def card(quality: dict[str, Any], training: dict[str, Any], parameters: int) -> str:
    """The text of the model card."""
    pixels = [[name, *(f"{v:.2f}" for v in quality[name])] for name in ("fields", "samples")]
    head = ("sampler", "naive noise NMSE", "smallest singular value", "largest")
    rows = [
        [name, f"{v['naive_noise_db']:.1f} dB", f"{v['sigma_min']:.2g}", f"{v['sigma_max']:.2g}"]
        for name, v in quality["conditioning"].items()
    ]
    errors = quality["denoising_error"]
    own = training.get("cpu_seconds")
    said = [] if own is None else [f"{own / 60:.0f} min of its own time"]
    said += [training["note"]] if "note" in training else []
    return CARD.format(
        parameters=parameters / 1e6,
        end=SCHEDULE.sigma_t(0).item(),
        steps=training["steps"],
        batch=training["batch"],
        minutes=training["seconds"] / 60,
        device=training["device"],
        time="".join(f"; {text}" for text in said),
        pixels=table(["", *(f"{q:.1%}" for q in QUANTILES)], pixels),
        errors=table(["sigma", *errors], [["error", *(f"{v:.2g}" for v in errors.values())]]),
        conditioning=table(head, rows),
    )


def sheet(fields: Tensor, columns: int = 10, times: int = 3) -> Image.Image:
    """Star fields side by side, in grey."""
    low, high = pixel_quantiles(fields)[0], pixel_quantiles(fields)[-1]
    grey = ((fields - low) / (high - low)).clamp(0, 1).mul(255).round().byte()
    pixels = grid_of(np.repeat(grey.permute(0, 2, 3, 1).numpy(), 3, axis=3), columns)
    size = (pixels.shape[1] * times, pixels.shape[0] * times)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
