"""Persistent searches with the network in float64, on latents that were made in float32."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ...denoisers import in_float64
from ...inversion import invert
from ...inverters import persistent
from ...metrics import nmse
from ...sampling import sample
from ..models.problem import Problem

NAME = "persistent, float64"


def attempt_precise(name: str, guidance: float, image: int, profile: str) -> dict[str, Tensor]:
    """Invert one float32 latent in float64; ``round_trip`` is of the float64 sampler.

    ``round_trip_32`` is of the float32 sampler that made the latent; ``round_off_32`` is how far
    its latent moves if the noise changes by 1e-8, less than float32 can tell apart, and
    ``round_off_true`` the same at the original noise. Medians of three.
    """
    problem = Problem.of(name, guidance, image, 1, profile)
    solver, noise = problem.solver, problem.noise
    rough = problem.denoiser
    fine = in_float64(rough)
    with torch.no_grad():
        target = sample(rough, noise, solver).image
        began = time.process_time()
        found = invert(rough, target, solver, method=persistent)
        seconds = time.process_time() - began
        again, again_32 = (sample(d, found.noise, solver).image for d in (fine, rough))

        def round_off(z: Tensor) -> Tensor:
            draw = torch.Generator().manual_seed(0)
            changes = torch.randn(3, *z.shape[1:], generator=draw, dtype=z.dtype)
            here = sample(rough, z, solver).image
            there = [sample(rough, z * (1 + 1e-8 * c), solver).image for c in changes]
            return torch.cat([nmse(image, here) for image in there]).median()

        moved, moved_true = round_off(found.noise), round_off(noise)
    return {
        "round_trip": nmse(again, target)[0],
        "round_trip_32": nmse(again_32, target)[0],
        "round_off_32": moved,
        "round_off_true": moved_true,
        "noise_nmse": nmse(found.noise, noise)[0],
        "residual": found.residuals.amax(1)[0],
        "mean_square": found.noise.square().mean(),
        "nfe": found.nfe[0],
        "seconds": torch.tensor(seconds, dtype=torch.float64),
    }
