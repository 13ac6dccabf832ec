"""Problems on the embedded models: a sampler, the network for some samples, their noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...denoisers import Denoiser
from ...portraits.quality import noise_for
from ...probing import from_scheduler
from ...schedule import Grid, Schedule
from ...solvers import Solver, ddim, dpm_solver_pp_2m, dpm_solver_pp_3m
from ...stars import SCHEDULE, stars_denoiser
from ...stars.render import SIDE
from .profiles import pixel, text_model

Make = Callable[[Grid], Solver]
SAMPLERS: dict[str, tuple[Make, int]] = {
    "DDIM-50": (ddim, 50),
    "DDIM-20": (ddim, 20),
    "2M-10": (dpm_solver_pp_2m, 10),
    "2M-20": (dpm_solver_pp_2m, 20),
}
MORE: dict[str, tuple[Make, int]] = {"3M-20": (dpm_solver_pp_3m, 20)}
SCHEDULERS = {  # diffusers' class, its options, steps
    "UniPC-10": ("UniPCMultistepScheduler", {}, 10),
    "2M-10": ("DPMSolverMultistepScheduler", {}, 10),
    "2M-20": ("DPMSolverMultistepScheduler", {}, 20),
    "3M-20": ("DPMSolverMultistepScheduler", {"solver_order": 3}, 20),
}


LOGSNR = " logSNR"  # ends the name of a sampler whose time points are uniform in log-SNR


def solver_named(name: str) -> Solver:
    """One of the samplers, on the latent model's schedule; read from diffusers if we have none."""
    if name in SAMPLERS or name in MORE:
        make, steps = (SAMPLERS | MORE)[name]
        return make(Schedule.scaled_linear().grid(steps))
    return from_scheduler(scheduler_named(name), SCHEDULERS[name][2])


def scheduler_named(name: str) -> Any:
    """The diffusers scheduler with the noise levels of one of the samplers."""
    import diffusers

    kind, options, _ = SCHEDULERS[name]
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return getattr(diffusers, kind)(**betas, **options, final_sigmas_type="sigma_min")


@dataclass(frozen=True)
class Problem:
    """What there is to invert.

    Attributes:
        pipe: the pipeline.
        solver: the sampler.
        denoiser: its network, guided by the prompts, one a row.
        noise: the noise that a perfect inversion finds, ``[B, ...]``.
        prompts: the prompts, empty for a model without any.
    """

    pipe: Any
    solver: Solver
    denoiser: Denoiser
    noise: Tensor
    prompts: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, name: str, guidance: float, first: int, count: int, profile: str = "tiny"
    ) -> Problem:
        """Prompts ``first`` ... ``first + count - 1`` of a profile; ``first`` is the seed, too."""
        text = text_model(profile)
        prompts = tuple(text.prompts(first + count)[first:])
        denoiser = text.denoiser(text.pipe, prompts, guidance)
        return cls(text.pipe, solver_named(name), denoiser, text.noise(count, first), prompts)

    @classmethod
    def pixels(cls, name: str, first: int, count: int, profile: str = "tiny") -> Problem:
        """The pixel model, which has no pipeline and no prompts, on its own time points."""
        space = pixel(profile, first + count)
        make, steps = SAMPLERS[name]
        return cls(None, make(space.grid(steps)), space.denoiser, space.noise[first:])

    @classmethod
    def stars(cls, name: str, first: int, count: int) -> Problem:
        """The star model; a sampler with ``logSNR`` after its name has time points of that kind."""
        make, steps = SAMPLERS[name.removesuffix(LOGSNR)]
        grid = SCHEDULE.grid(steps, spacing="logsnr" if name.endswith(LOGSNR) else "linspace")
        return cls(None, make(grid), stars_denoiser(), noise_for(count, (1, SIDE, SIDE), first))
