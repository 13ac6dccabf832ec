"""The methods of the open front, as inverters."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ...denoisers import Denoiser
from ...inversion import Inversion, Inverter, invert
from ...inverters import multisecant, persistent, whole_trajectory
from ...metrics import nmse
from ...newton import newton_krylov
from ...rootfind import anderson
from ...sampling import sample
from ...schedule import Schedule
from ...solvers import Solver, dpm_solver_pp_1, dpm_solver_pp_2m
from ..models.problem import Problem
from .levenberg import levenberg_marquardt
from .path import guidance_path, strength_path

FINE = 40  # steps of the fine sampler of the multigrid start


def multigrid(denoiser: Denoiser, image: Tensor, solver: Solver, *, rounds: int = 30) -> Inversion:
    """Invert 2M with more steps, and start from its states at the solver's own times."""
    fine = dpm_solver_pp_2m(Schedule.scaled_linear().grid(FINE))
    rough = multisecant(denoiser, image, fine, max_iterations=rounds)
    states = coarse_states(rough.states, solver)
    found = multisecant(denoiser, image, solver, start=states)
    return replace(found, nfe=found.nfe + rough.nfe, method="multigrid")


def coarse_states(states: Tensor, solver: Solver) -> Tensor:
    """Those of the ``m+1`` states that stand at the times of a solver of n steps, n divides m.

    Raises:
        ValueError: if n does not divide m.
    """
    every, left = divmod(len(states) - 1, solver.steps)
    if left:
        raise ValueError(f"{solver.steps} steps do not divide {len(states) - 1}")
    return states[::every]


def table_path(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, parts: int = 4, rounds: int = 40
) -> Inversion:
    """From the first-order sampler to 2M: every table on the way starts at the last one's root."""
    first = dpm_solver_pp_1(Schedule.scaled_linear().grid(solver.steps))
    states: Tensor | None = None
    spent = torch.zeros(len(image), dtype=torch.long)
    for part in range(parts + 1):
        mixed = replace(solver, b=torch.lerp(first.b, solver.b, part / parts))
        found = multisecant(denoiser, image, mixed, start=states, max_iterations=rounds)
        states, spent = found.states, spent + found.nfe
    return replace(found, nfe=spent, method="table continuation")


METHODS: dict[str, Inverter] = {
    "multisecant": multisecant,
    "multisecant, patient": partial(persistent, starts=1, double=False),
    "Anderson, memory 5": partial(
        whole_trajectory, finder=partial(anderson, memory=5, max_iterations=150), finish=None
    ),
    "Anderson, memory 16": partial(whole_trajectory, finish=None),
    "Anderson, Newton-Krylov": partial(
        whole_trajectory, finish=partial(newton_krylov, max_iterations=2)
    ),
    "Levenberg-Marquardt": partial(whole_trajectory, finder=levenberg_marquardt, finish=None),
    "multi-start": partial(persistent, double=False, max_iterations=50, patience=12, memory=60),
    "multigrid in time": multigrid,
    "table continuation": table_path,
    "arclength in guidance": guidance_path,
    "arclength in strength": strength_path,
}


def attempt(method: str, name: str, guidance: float, image: int, profile: str) -> dict[str, Tensor]:
    """Invert one image by one method; errors, costs, and the noise's mean square.

    Seconds are of CPU time, of all threads together.
    """
    problem = Problem.of(name, guidance, image, 1, profile)
    solver, denoiser, noise = problem.solver, problem.denoiser, problem.noise
    with torch.no_grad():
        target = sample(denoiser, noise, solver).image
        began = time.process_time()
        found = invert(denoiser, target, solver, method=METHODS[method])
        seconds = time.process_time() - began
        again = sample(denoiser, found.noise, solver).image
    return {
        "round_trip": nmse(again, target)[0],
        "noise_nmse": nmse(found.noise, noise)[0],
        "residual": found.residuals.amax(1)[0],
        "mean_square": found.noise.square().mean(),
        "nfe": found.nfe[0],
        "seconds": torch.tensor(seconds, dtype=torch.float64),
    }
