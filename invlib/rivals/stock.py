"""The inverse schedulers of diffusers, driven as a user drives them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..denoisers import Denoiser, prediction_of, select
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..schedule import Schedule
from ..solvers import Solver
from .steps import all_rows, explicit


def ddim_inverse(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, scheduler: Any = None
) -> Inversion:
    r"""``diffusers.DDIMInverseScheduler``: the explicit DDIM step towards noise.

    .. math:: x_i = \frac{\alpha_i}{\alpha_{i+1}} x_{i+1}
              + \Bigl(\sigma_i - \frac{\alpha_i}{\alpha_{i+1}} \sigma_{i+1}\Bigr)
              \epsilon(x_{i+1}, t_i)

    Naive inversion by another name, on diffusers' own (float32) noise levels.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: the sampler; its number of steps and its noise schedule are used.
        scheduler: the sampler's diffusers scheduler, of whose config a user makes the inverse
            scheduler; by default what fits a table that starts at the last training time.

    Raises:
        ValueError: if no scheduler is given and diffusers has none for the table.
    """
    from diffusers import DDIMInverseScheduler

    options = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "trailing"}
    config = _config(solver, denoiser, **options) if scheduler is None else scheduler.config
    return _run(DDIMInverseScheduler.from_config(config), denoiser, image, solver, "ddim_inverse")


def dpm_inverse(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, scheduler: Any = None
) -> Inversion:
    r"""``diffusers.DPMSolverMultistepInverseScheduler``: the multistep formula towards noise.

    .. math:: x_i = \frac{\sigma_i}{\sigma_{i+1}} x_{i+1} - \alpha_i (e^{h} - 1)
              \Bigl(D_{i+1} + \frac{D_{i+1} - D_{i+2}}{2r}\Bigr), \quad
              h = \lambda_{i+1} - \lambda_i, \quad r = \frac{\lambda_{i+2} - \lambda_{i+1}}{h}

    (order 2). It discretises the same differential equation as the sampler and is not its inverse.
    Whatever the sampler's last noise level, it starts from the smallest of the schedule.
    Arguments and errors as :func:`ddim_inverse`; the default takes the table's order.
    """
    from diffusers import DPMSolverMultistepInverseScheduler as InverseScheduler

    order = min(3, int((solver.b != 0).sum(1).max()))
    options = {"solver_order": order, "timestep_spacing": "linspace"}
    config = _config(solver, denoiser, **options) if scheduler is None else scheduler.config
    return _run(InverseScheduler.from_config(config), denoiser, image, solver, "dpm_inverse")


def _config(solver: Solver, denoiser: Denoiser, **options: object) -> dict[str, object]:
    """A config with the table's schedule and the network's prediction."""
    schedule, kind = solver.schedule, prediction_of(denoiser)
    if not isinstance(schedule, Schedule) or solver.t[0].round() != schedule.times - 1:
        raise ValueError(f"{solver.name}: give the scheduler that made the image, scheduler=...")
    if kind not in ("epsilon", "sample", "v_prediction"):
        raise ValueError(f"the inverse schedulers of diffusers know no prediction {kind!r}")
    kept = torch.sigmoid(2 * schedule.lambdas)  # alpha squared
    betas = 1 - kept / torch.cat([kept.new_ones(1), kept[:-1]])
    times = {"num_train_timesteps": schedule.times, "trained_betas": betas.tolist()}
    return {**times, "prediction_type": kind, **options}


def _run(inverse: Any, denoiser: Denoiser, image: Tensor, solver: Solver, method: str) -> Inversion:
    """The loop that every diffusers tutorial has."""
    evaluator, image = Evaluator.start(denoiser, image, solver)
    rows, states = all_rows(image), [image]
    inverse.set_timesteps(solver.steps)
    for t in inverse.timesteps:
        label = t.to(image).expand(len(image))
        raw = evaluator.call(lambda y, t, r: select(denoiser, r)(y, t), states[-1], label, rows)
        states.append(inverse.step(raw.to(image.dtype), t, states[-1]).prev_sample.double())
    return explicit(states, evaluator, method)
