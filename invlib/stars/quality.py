"""How good the star model is, and how hard its samplers are to invert."""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverters import naive
from ..metrics import decibel, nmse
from ..portraits.quality import noise_for
from ..sampling import sample
from ..shapes import column
from ..singular import singular_values
from ..solvers import Solver, ddim, dpm_solver_pp_2m
from .load import SCHEDULE, NoiseOfScore
from .render import SIDE, star_fields

HELD_OUT_SEED = 1_000_003
QUANTILES = (0.01, 0.5, 0.9, 0.99, 0.999)
TIMES = (0, 50, 100, 200, 400)


def held_out(count: int) -> Tensor:
    """Fields that the model was not trained on, ``[count, 1, 32, 32]``."""
    return star_fields(count, torch.Generator().manual_seed(HELD_OUT_SEED))


def denoising_error(denoiser: NoiseOfScore, count: int = 200) -> dict[str, float]:
    """Mean square error of the predicted noise on held-out fields, by noise level."""
    x0 = held_out(count)
    noise = noise_for(count, tuple(x0.shape[1:])).to(x0)
    errors = {}
    for time in TIMES:
        t = torch.full((count,), float(time), dtype=torch.float64)
        alpha, sigma = (column(v(t).to(x0), x0) for v in (SCHEDULE.alpha_t, SCHEDULE.sigma_t))
        with torch.no_grad():
            error = denoiser(alpha * x0 + sigma * noise, t) - noise
        errors[f"{sigma[0].item():.2f}"] = error.square().mean().item()
    return errors


def samples(denoiser: NoiseOfScore, count: int) -> Tensor:
    """What DPM-Solver++(2M) makes in 50 steps uniform in log-SNR, ``[count, 1, 32, 32]``."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(50, spacing="logsnr"))
    with torch.no_grad():
        return sample(denoiser, noise_for(count, (1, SIDE, SIDE)), solver).image


def pixel_quantiles(fields: Tensor) -> list[float]:
    """Quantiles of all pixels: the sky, the wings of the stars, their cores."""
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    return torch.quantile(fields.double().flatten(), levels).tolist()


def conditioning(denoiser: NoiseOfScore, count: int = 8) -> dict[str, dict[str, float]]:
    """Median error of naive inversion, and singular values (2 noises), for each sampler."""
    solvers: dict[str, Solver] = {
        "DDIM-50": ddim(SCHEDULE.grid(50)),
        "2M-10": dpm_solver_pp_2m(SCHEDULE.grid(10)),
        "2M-20": dpm_solver_pp_2m(SCHEDULE.grid(20)),
        "2M-10 logSNR": dpm_solver_pp_2m(SCHEDULE.grid(10, spacing="logsnr")),
    }
    noise, table = noise_for(count, (1, SIDE, SIDE)), {}
    for name, solver in solvers.items():
        with torch.no_grad():
            image = sample(denoiser, noise, solver).image
            error = nmse(naive(denoiser, image, solver).noise, noise)
        small, large = singular_values(denoiser, noise[:2], solver)
        table[name] = {
            "naive_noise_db": decibel(error).median().item(),
            "sigma_min": small.median().item(),
            "sigma_max": large.median().item(),
        }
    return table
