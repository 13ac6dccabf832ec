"""Train the unconditional 32 x 32 pixel model: cosine schedule, v-prediction, grain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from torch import Tensor

from ..schedule import Schedule
from .architecture import pixel_unet
from .training import fit

GRAIN = 0.04  # std of the noise on pictures in [-1, 1]: the noise floor of the data


def train_pixel(
    pixels: np.ndarray, folder: Path, *, steps: int = 2400, batch: int = 64, device: str = "cpu"
) -> tuple[UNet2DModel, dict]:
    r"""Train on ``uint8 [n, 32, 32, 3]`` pictures to predict :math:`\alpha\epsilon-\sigma x_0`."""
    torch.manual_seed(1)
    unet = pixel_unet().to(device)
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    schedule = Schedule.cosine()

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(pictures), (batch,))
        x0 = pictures[rows].to(device).float() / 127.5 - 1
        x0 = x0 + GRAIN * torch.randn_like(x0)
        noise = torch.randn_like(x0)
        t = torch.rand(batch, dtype=torch.float64) * (schedule.times - 1)
        alpha = schedule.alpha_t(t).float().to(device)[:, None, None, None]
        sigma = schedule.sigma_t(t).float().to(device)[:, None, None, None]
        with torch.autocast(device, torch.bfloat16):
            v = unet(alpha * x0 + sigma * noise, t.float().to(device)).sample
        return (v.float() - (alpha * noise - sigma * x0)).square().mean()

    seconds = fit(
        unet, loss, steps=steps, checkpoint=folder / "pixel.safetensors", description="pixel unet"
    )
    return unet, {"seconds": seconds, "steps": steps, "batch": batch, "grain": GRAIN}
