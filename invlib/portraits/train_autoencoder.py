"""Train the autoencoder: an L1 + L2 loss and a KL weight that holds the noise floor."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .architecture import autoencoder
from .training import fit

FLOOR = 0.28  # posterior std over latent std that the KL weight is steered to
GRAIN = 0.01  # std of the noise added to pictures in [-1, 1]


class KLWeight:
    """The KL weight that keeps the ratio posterior std / latent std at ``target``."""

    def __init__(self, target: float, start: float = 1e-4) -> None:
        self.target, self.log, self.ratio = target, math.log(start), 0.0

    def update(self, mean: Tensor, std: Tensor) -> float:
        """Move the weight by at most one per cent towards the target and return it."""
        total = (mean.float().var() + std.float().square().mean()).sqrt()
        ratio = (std.float().square().mean().sqrt() / total).item()
        self.ratio = ratio if not self.ratio else 0.9 * self.ratio + 0.1 * ratio
        self.log += max(-0.01, min(0.01, math.log(self.target / self.ratio)))
        return math.exp(self.log)


def train_autoencoder(
    pixels: np.ndarray, folder: Path, *, steps: int = 3600, batch: int = 24, device: str = "cpu"
) -> tuple[AutoencoderKL, dict]:
    """Train on ``uint8 [n, 64, 64, 3]`` pictures; return the network and what is known of it."""
    torch.manual_seed(0)
    vae = autoencoder().to(device)
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    weight = KLWeight(FLOOR)

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(pictures), (batch,))
        x = pictures[rows].to(device).float() / 127.5 - 1
        noisy = x + GRAIN * torch.randn_like(x)
        with torch.autocast(device, torch.bfloat16):
            posterior = vae.encode(noisy).latent_dist
            y = vae.decode(posterior.sample()).sample.float()
        kl = 0.5 * (
            posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()
        )
        error = y - x
        beta = weight.update(posterior.mean.detach(), posterior.std.detach())
        if step % 100 == 0:
            psnr = 10 * math.log10(4 / error.square().mean().item())
            print(
                f"\nstep {step} beta {beta:.2e} floor {weight.ratio:.3f} psnr {psnr:.2f}",
                flush=True,
            )
        return error.abs().mean() + error.square().mean() + beta * kl.mean()

    seconds = fit(
        vae,
        loss,
        steps=steps,
        lr=2e-3,
        checkpoint=folder / "autoencoder.safetensors",
        description="autoencoder",
    )
    return vae, {"seconds": seconds, "steps": steps, "batch": batch, "floor": weight.ratio}


def fix_floor(vae: AutoencoderKL, std: float) -> None:
    """Make the posterior's standard deviation the number ``std`` in every latent entry."""
    with torch.no_grad():
        channels = vae.config.latent_channels
        vae.quant_conv.weight[channels:] = 0.0
        vae.quant_conv.bias[channels:] = 2 * math.log(std)


def refine_autoencoder(
    vae: AutoencoderKL,
    pixels: np.ndarray,
    folder: Path,
    *,
    steps: int,
    batch: int = 24,
    decoder_only: bool = False,
    device: str = "cpu",
) -> dict:
    """Go on with the same noise in all channels, so that no channel is left without a floor.

    The variational stage puts nearly all of its noise into one channel. Here the posterior's
    deviation is fixed; with ``decoder_only`` the latents stay as they are and only the decoder
    learns to see through their noise.
    """
    torch.manual_seed(3)
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    power = KLWeight(FLOOR, start=4e-4)
    encoder = [vae.encoder, vae.quant_conv]
    if not decoder_only:
        x = pictures[:500].to(device).float() / 127.5 - 1
        with torch.no_grad():
            posterior = vae.encode(x).latent_dist
        total = (posterior.mean.var() + posterior.var.mean()).sqrt().item()
        std = FLOOR * total
        fix_floor(vae, std)
    for module in encoder:
        module.requires_grad_(not decoder_only)

    def loss(step: int) -> Tensor:
        x = pictures[torch.randint(len(pictures), (batch,))].to(device).float() / 127.5 - 1
        if not decoder_only:
            fix_floor(vae, std)
        with torch.autocast(device, torch.bfloat16):
            posterior = vae.encode(x + GRAIN * torch.randn_like(x)).latent_dist
            y = vae.decode(posterior.sample()).sample.float()
        error = y - x
        value = error.abs().mean() + error.square().mean()
        if decoder_only:
            return value
        mean = posterior.mean.float()
        return value + power.update(mean.detach(), posterior.std.detach()) * mean.square().mean()

    name = "decoder" if decoder_only else "floor"
    seconds = fit(
        vae, loss, steps=steps, lr=1e-3, checkpoint=folder / f"{name}.safetensors", description=name
    )
    for module in encoder:
        module.requires_grad_(True)
    if not decoder_only:
        fix_floor(vae, std)
    return {"seconds": seconds, "steps": steps, "batch": batch}
