"""Train the text-to-latent network on posterior samples of the frozen autoencoder."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from ..schedule import Schedule
from .architecture import TOKENS, latent_unet, text_encoder
from .prompts import shortened
from .training import fit


def encode(
    vae: AutoencoderKL, pixels: np.ndarray, device: str = "cpu", batch: int = 100
) -> tuple[Tensor, Tensor]:
    """Posterior means and standard deviations of all pictures, ``[n, 4, 16, 16]`` each."""
    means, stds = [], []
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        for i in range(0, len(pixels), batch):
            x = torch.from_numpy(pixels[i : i + batch]).permute(0, 3, 1, 2).to(device)
            posterior = vae.encode(x.float() / 127.5 - 1).latent_dist
            means.append(posterior.mean.float())
            stds.append(posterior.std.float())
    return torch.cat(means), torch.cat(stds)


def train_latent(
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    pixels: np.ndarray,
    captions: list[str],
    folder: Path,
    *,
    steps: int = 2800,
    batch: int = 64,
    device: str = "cpu",
) -> tuple[UNet2DConditionModel, CLIPTextModel, dict]:
    """Train network and text encoder together to predict the noise; set the VAE's scaling."""
    torch.manual_seed(2)
    unet, text = latent_unet().to(device), text_encoder(len(tokenizer)).to(device)
    means, stds = encode(vae, pixels, device)
    scale = 1 / (means.var() + stds.square().mean()).sqrt().item()
    vae.register_to_config(scaling_factor=scale)
    schedule, rng = Schedule.scaled_linear(), random.Random(0)

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(means), (batch,))
        prompts = [shortened(captions[i], rng) for i in rows.tolist()]
        tokens = tokenizer(
            prompts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
        ).input_ids.to(device)
        rows = rows.to(device)
        x0 = scale * (means[rows] + stds[rows] * torch.randn_like(means[rows]))
        noise = torch.randn_like(x0)
        t = torch.rand(batch, dtype=torch.float64) * (schedule.times - 1)
        alpha = schedule.alpha_t(t).float().to(device)[:, None, None, None]
        sigma = schedule.sigma_t(t).float().to(device)[:, None, None, None]
        with torch.autocast(device, torch.bfloat16):
            condition = text(tokens).last_hidden_state
            noisy = alpha * x0 + sigma * noise
            predicted = unet(noisy, t.float().to(device), encoder_hidden_states=condition).sample
        return (predicted.float() - noise).square().mean()

    seconds = fit(
        nn.ModuleList([unet, text]),
        loss,
        steps=steps,
        checkpoint=folder / "latent.safetensors",
        description="latent unet",
    )
    floor = (scale * stds.square().mean().sqrt()).item()
    return unet, text, {"seconds": seconds, "steps": steps, "batch": batch, "noise_floor": floor}
